package kube

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// store passes what a reflector hears on to the index. It keeps no objects,
// only which there are: after a gap, a list shows what has gone meanwhile.
type store[T metav1.Object] struct {
	health *health
	trim   func(T) T
	set    func(T)
	gone   func(id identity, heard int64)
	live   map[string]identity // by namespace/name
}

// identity of an object.
type identity struct{ key, uid string }

func identify(o metav1.Object) identity {
	if o.GetNamespace() == "" {
		return identity{o.GetName(), string(o.GetUID())}
	}
	return identity{o.GetNamespace() + "/" + o.GetName(), string(o.GetUID())}
}

// Add, Update, Delete, Replace, Resync, Bookmark and Transformer are what
// client-go's Reflector calls, from one goroutine.

func (s *store[T]) Add(obj any) error { return s.Update(obj) }

func (s *store[T]) Update(obj any) error {
	o, err := s.cast(obj)
	if err != nil {
		return err
	}
	s.update(o, s.health.before())
	s.health.hear()
	return nil
}

func (s *store[T]) update(o T, heard int64) {
	id := identify(o)
	if old, ok := s.live[id.key]; ok && old.uid != id.uid {
		s.gone(old, heard) // its deletion was missed
	}
	s.live[id.key] = id
	s.set(o)
}

func (s *store[T]) Delete(obj any) error {
	o, err := s.cast(obj)
	if err != nil {
		return err
	}
	id := identify(o)
	s.set(o) // how it ended
	s.health.hear()
	if s.live[id.key] == id {
		delete(s.live, id.key)
	}
	s.gone(id, s.health.before())
	return nil
}

func (s *store[T]) Replace(list []any, _ string) error {
	heard := s.health.before()
	listed := make(map[string]identity, len(list))
	for _, obj := range list {
		o, err := s.cast(obj)
		if err != nil {
			return err
		}
		s.update(o, heard)
		id := identify(o)
		listed[id.key] = id
	}
	for key, id := range s.live {
		if _, ok := listed[key]; !ok {
			delete(s.live, key)
			s.gone(id, heard)
		}
	}
	s.health.sync()
	return nil
}

func (s *store[T]) Resync() error { return nil }

func (s *store[T]) Bookmark(string) error {
	s.health.hear()
	return nil
}

func (s *store[T]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, ok := obj.(T); ok {
			return s.trim(o), nil
		}
		return obj, nil
	}
}

func (s *store[T]) cast(obj any) (T, error) {
	o, ok := obj.(T)
	if !ok {
		return o, fmt.Errorf("read %s: %w: %T", s.health.resource, errors.ErrUnsupported, obj)
	}
	return o, nil
}
