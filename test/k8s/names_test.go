//go:build installs

package k8s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/test/rig"
)

// checkNames compares both ends of every event of a namespace with what the
// API says of the addresses, and the local end with the pod's UID as well. It
// returns how many events it compared.
func checkNames(t *testing.T, c *cluster, streams rig.Streams, namespace string) (events int) {
	t.Helper()
	who := c.directory(t)
	wrong := map[string]int{}
	check := func(e *proto.Event, got proto.Endpoint, address netip.AddrPort, local bool) {
		want, known := who.byAddress[address.Addr().Unmap().String()]
		if local {
			want, known = who.byUID[e.Process.PodUID]
		} else if e.Peer.IsValid() {
			want, known = who.byAddress[e.Peer.Addr().Unmap().String()]
		}
		if service, ok := who.services[address.Addr().Unmap().String()]; ok && got.Service != service {
			wrong[fmt.Sprintf("%s side: service of %s is %q, want %q", e.Side, address, got.Service, service)]++
		}
		if !known {
			return // this machine, a node, another namespace's past
		}
		if want.Service = got.Service; !local {
			want.Container = got.Container // an address doesn't tell
		}
		if got != want {
			wrong[fmt.Sprintf("%s side: %s is %+v, want %+v", e.Side, address.Addr(), got, want)]++
		}
	}
	eachEvent(t, streams, func(e *proto.Event) {
		if e.From.Namespace != namespace && e.To.Namespace != namespace {
			return
		}
		events++
		check(e, e.From, e.Source, e.Side == proto.SideClient)
		check(e, e.To, e.Destination, e.Side == proto.SideServer)
	})
	for what, n := range wrong {
		t.Errorf("%d times: %s", n, what)
	}
	return events
}

// eachEvent reads WEIR_ENRICHED from its beginning to its present end.
func eachEvent(t *testing.T, streams rig.Streams, visit func(*proto.Event)) {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: streams.NATS, Name: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, err := conn.Read(t.Context(), bus.ReadConfig{Stream: proto.StreamEnriched, Subjects: []string{proto.SubjectsEnriched}, StopAtEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		var frame proto.Frame
		msg, err := r.Next(context.WithoutCancel(t.Context()))
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := frame.Decode(msg.Data); err != nil {
			t.Fatalf("decode frame %d: %v", msg.Sequence, err)
		}
		for i := range frame.Events {
			visit(&frame.Events[i])
		}
	}
}
