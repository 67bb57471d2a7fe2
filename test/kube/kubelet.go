package kube

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node writes a node with a zone, addresses and ranges of pod addresses.
func (a *API) Node(ctx context.Context, name, zone string, addrs, ranges []string) error {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}}}
	if len(ranges) > 0 {
		n.Spec.PodCIDR, n.Spec.PodCIDRs = ranges[0], ranges
	}
	n, err := a.Client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	n.Spec.Taints = nil // that it isn't ready
	if n, err = a.Client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{}); err != nil {
		return err
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, ip := range addrs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	_, err = a.Client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
	return err
}

// RunPod does what scheduler and kubelet would: puts the pod on a node, gives it
// its addresses and starts its containers.
func (a *API) RunPod(ctx context.Context, p *corev1.Pod, node string, ips ...string) (*corev1.Pod, error) {
	pods := a.Client.CoreV1().Pods(p.Namespace)
	if p.Spec.NodeName == "" {
		err := pods.Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("bind pod: %w", err)
		}
	}
	p, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	now := metav1.Now()
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &now, PodIP: ips[0], HostIP: "192.0.2.1", HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	for _, c := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, c := range p.Spec.Containers {
		id := make([]byte, 32)
		_, _ = rand.Read(id) // it doesn't fail
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Ready: true, ContainerID: "containerd://" + hex.EncodeToString(id),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	return pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
}

// EndPod ends a pod's containers now.
func (a *API) EndPod(ctx context.Context, p *corev1.Pod) (*corev1.Pod, error) {
	pods := a.Client.CoreV1().Pods(p.Namespace)
	p, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	p.Status.Phase = corev1.PodSucceeded
	for i := range p.Status.ContainerStatuses {
		s := &p.Status.ContainerStatuses[i]
		s.Ready = false
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			StartedAt: s.State.Running.StartedAt, FinishedAt: metav1.Now(), ContainerID: s.ContainerID,
		}}
	}
	return pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
}

// DeletePod deletes a pod at once.
func (a *API) DeletePod(ctx context.Context, p *corev1.Pod) error {
	zero := int64(0)
	return a.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
}

// Namespace makes a namespace, and returns its name.
func (a *API) Namespace(ctx context.Context, name string) (string, error) {
	_, err := a.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return name, err
}

// Pods waits until a namespace has n pods that are as wanted, and returns them.
func (a *API) Pods(ctx context.Context, namespace string, n int, wanted func(*corev1.Pod) bool) ([]corev1.Pod, error) {
	for {
		list, err := a.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		var found []corev1.Pod
		for i := range list.Items {
			if wanted(&list.Items[i]) {
				found = append(found, list.Items[i])
			}
		}
		if len(found) == n {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %d pods in %s: there are %d: %w", n, namespace, len(found), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
