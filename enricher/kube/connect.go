package kube

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config says where the API is.
type Config struct {
	Kubeconfig string // file; "" means the service account of the pod that this runs in
	Context    string // of the file; "" means its current one

	// OptOut selects namespaces by their labels, as kubectl does: their pods are
	// left out, unless their annotation says otherwise. "" selects none.
	OptOut string
}

// source is what an error about it should name.
func (c Config) source() string {
	if c.Kubeconfig == "" {
		return "the pod's service account"
	}
	return "kubeconfig " + c.Kubeconfig
}

func (c Config) restConfig() (*rest.Config, error) {
	if c.Kubeconfig == "" {
		r, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("find the Kubernetes API: this is no pod, which would have a service account: give --kubeconfig FILE")
		}
		if err != nil {
			return nil, fmt.Errorf("find the Kubernetes API: %w", err)
		}
		return r, nil
	}
	if _, err := os.Stat(c.Kubeconfig); err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	r, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: c.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", c.Kubeconfig, err)
	}
	return r, nil
}

// client is one of an API group, in protobuf. The clientset would bring the
// clients and types of all groups with it.
func client(base *rest.Config, shared *http.Client, group schema.GroupVersion) (rest.Interface, error) {
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(types); err != nil {
			return nil, err
		}
	}
	metav1.AddToGroupVersion(types, schema.GroupVersion{Version: "v1"})
	c := rest.CopyConfig(base)
	c.GroupVersion = &group
	c.APIPath = "/apis"
	if group.Group == "" {
		c.APIPath = "/api"
	}
	c.NegotiatedSerializer = serializer.NewCodecFactory(types).WithoutConversion()
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return rest.RESTClientForConfigAndClient(c, shared)
}
