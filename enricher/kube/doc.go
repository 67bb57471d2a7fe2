// Package kube knows who is who in a Kubernetes cluster, now and during the
// last two hours: the time for which raw events are kept.
//
// [Cluster] watches the API and fills an [Index]; the enricher asks the Index
// who had an address, a pod UID or a container id when an exchange happened.
// Several things claim an address one after another, and the API tells late:
// a claim has times from which and until which it is sure, and others at which
// it is possible. Where two are possible, nobody is named.
package kube
