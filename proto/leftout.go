package proto

import (
	"errors"
	"fmt"
)

// BucketLeftOut is the key-value bucket of what agents leave out: a [LeftOut]
// for each node that has such pods.
const BucketLeftOut = "WEIR_LEFT_OUT"

// KeyRetired is the key of the same bucket that has a value while an install is
// being deleted: agents then leave nothing behind in the kernel.
const KeyRetired = "install.retired"

// LeftOutVersion is that of the bucket's values.
const LeftOutVersion = 1

// maxLeftOut bounds the pods of a node: kubelets run 110 unless told otherwise.
const maxLeftOut = 8192

// LeftOutKey is a node's key in the bucket.
func LeftOutKey(node string) string { return Token(node) }

// LeftOut are the pods of a node that are not to be measured.
type LeftOut struct {
	V    int
	Node string
	Pods []string // UIDs as the pods' cgroups have them
}

// EncodeLeftOut encodes a value of the bucket. The same pods in the same order
// give the same bytes.
func EncodeLeftOut(l *LeftOut) ([]byte, error) {
	if len(l.Pods) > maxLeftOut {
		return nil, fmt.Errorf("encode what is left out on %s: %d pods, at most %d are allowed", l.Node, len(l.Pods), maxLeftOut)
	}
	b := appendUint(appendString(appendMap(nil, 3), "v"), LeftOutVersion)
	b = appendString(appendString(b, "node"), l.Node)
	b = appendArray(appendString(b, "pods"), len(l.Pods))
	for _, uid := range l.Pods {
		b = appendString(b, uid)
	}
	for _, s := range append([]string{l.Node}, l.Pods...) {
		if err := checkString(s); err != nil {
			return nil, fmt.Errorf("encode what is left out on %s: %w", l.Node, err)
		}
	}
	if len(b) > MaxMessageBytes {
		return nil, fmt.Errorf("encode what is left out on %s: %d bytes, at most %d are allowed", l.Node, len(b), MaxMessageBytes)
	}
	return b, nil
}

// DecodeLeftOut decodes a value of the bucket. It refuses what is longer than
// MaxMessageBytes or of a higher version; it skips keys it doesn't know.
func DecodeLeftOut(b []byte) (*LeftOut, error) {
	l := new(LeftOut)
	r := newReader(b)
	for key := range r.fields {
		switch string(key) {
		case "v":
			l.V = r.version(LeftOutVersion)
		case "node":
			l.Node = r.string()
		case "pods":
			for range r.array(maxLeftOut) {
				uid := r.string()
				if r.err != nil {
					break
				}
				l.Pods = append(l.Pods, uid)
			}
		default:
			r.skip()
		}
	}
	if l.V == 0 {
		r.fail(errNoVersion)
	}
	if l.Node == "" {
		r.fail(errors.New("has no node"))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode what is left out: %w", err)
	}
	return l, nil
}
