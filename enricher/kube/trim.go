package kube

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Trimmed objects have only what the Index reads: a cluster's first list is in
// memory at once.

func trimMeta(m *metav1.ObjectMeta, labels, annotations []string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		DeletionGracePeriodSeconds: m.DeletionGracePeriodSeconds, OwnerReferences: m.OwnerReferences,
		Labels: only(m.Labels, labels), Annotations: only(m.Annotations, annotations),
	}
}

func only(from map[string]string, keys []string) map[string]string {
	var to map[string]string
	for _, k := range keys {
		if v, ok := from[k]; ok {
			if to == nil {
				to = map[string]string{}
			}
			to[k] = v
		}
	}
	return to
}

func trimPod(o *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: trimMeta(&o.ObjectMeta, nil, []string{annotationMirror, annotationHash, annotationMeasure}),
		Spec: corev1.PodSpec{
			NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork, Containers: trimContainers(o.Spec.Containers),
			InitContainers: trimContainers(o.Spec.InitContainers), EphemeralContainers: make([]corev1.EphemeralContainer, len(o.Spec.EphemeralContainers)),
		},
		Status: corev1.PodStatus{
			Phase: o.Status.Phase, HostIP: o.Status.HostIP, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs, StartTime: o.Status.StartTime,
			InitContainerStatuses:      trimStatuses(o.Status.InitContainerStatuses),
			ContainerStatuses:          trimStatuses(o.Status.ContainerStatuses),
			EphemeralContainerStatuses: trimStatuses(o.Status.EphemeralContainerStatuses),
		},
	}
}

func trimContainers(from []corev1.Container) []corev1.Container {
	to := make([]corev1.Container, len(from))
	for i := range from {
		to[i].Name, to[i].RestartPolicy = from[i].Name, from[i].RestartPolicy
	}
	return to
}

func trimStatuses(from []corev1.ContainerStatus) []corev1.ContainerStatus {
	to := make([]corev1.ContainerStatus, len(from))
	for i := range from {
		f := &from[i]
		to[i] = corev1.ContainerStatus{
			Name: f.Name, ContainerID: f.ContainerID, State: trimState(f.State), LastTerminationState: trimState(f.LastTerminationState),
		}
	}
	return to
}

func trimState(s corev1.ContainerState) corev1.ContainerState {
	s.Waiting = nil
	if t := s.Terminated; t != nil {
		s.Terminated = &corev1.ContainerStateTerminated{StartedAt: t.StartedAt, FinishedAt: t.FinishedAt, ContainerID: t.ContainerID}
	}
	return s
}

func trimService(o *corev1.Service) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: trimMeta(&o.ObjectMeta, nil, nil),
		Spec:       corev1.ServiceSpec{ClusterIPs: o.Spec.ClusterIPs, ExternalIPs: o.Spec.ExternalIPs},
		Status:     corev1.ServiceStatus{LoadBalancer: o.Status.LoadBalancer},
	}
}

func trimSlice(o *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	t := &discoveryv1.EndpointSlice{
		ObjectMeta: trimMeta(&o.ObjectMeta, []string{discoveryv1.LabelServiceName}, nil),
		Endpoints:  make([]discoveryv1.Endpoint, len(o.Endpoints)),
	}
	for i := range o.Endpoints {
		t.Endpoints[i].TargetRef = o.Endpoints[i].TargetRef
	}
	return t
}

func trimNode(o *corev1.Node) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: trimMeta(&o.ObjectMeta, []string{corev1.LabelTopologyZone}, nil),
		Spec:       corev1.NodeSpec{PodCIDRs: o.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: o.Status.Addresses},
	}
}

func trimOwner(o *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: trimMeta(&o.ObjectMeta, nil, nil)}
}

// trimNamespace keeps all labels: any may be selected by.
func trimNamespace(o *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	t := trimOwner(o)
	t.Labels = o.Labels
	return t
}
