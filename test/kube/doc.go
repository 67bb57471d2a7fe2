// Package kube starts the API of a Kubernetes cluster for tests: etcd,
// kube-apiserver and kube-controller-manager, on loopback. There are no nodes
// but those that a test writes, and no kubelet: [API.RunPod] and [API.EndPod] do what
// one would, to pods that controllers made.
//
// The binaries are those that test/cluster builds. Tests are skipped unless
// WEIR_REQUIRE=all is set, and then fail without them.
package kube
