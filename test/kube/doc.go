// Package kube starts the API of a Kubernetes cluster for tests: etcd,
// kube-apiserver and kube-controller-manager, on loopback. There are no nodes
// but those that a test writes, and no kubelet: [API.RunPod] and [API.EndPod] do what
// one would, to pods that controllers made.
//
// The binaries are those that test/cluster builds. Without them tests are
// skipped, and fail where WEIR_REQUIRE=all is set.
package kube
