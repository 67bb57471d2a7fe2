package bus_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/proto"
)

func TestTable(t *testing.T) {
	server := bustest.Start(t)
	c := bustest.Connect(t, server.URL)
	ctx := t.Context()
	value := func(key string) string {
		t.Helper()
		var v []byte
		var err error
		bustest.Eventually(t, func() bool { // the server may just have restarted
			v, err = c.Value(ctx, proto.BucketLeftOut, key)
			return err == nil
		}, "read: %v", &err)
		return string(v)
	}
	open := func() *bus.Table {
		t.Helper()
		table, err := c.OpenTable(ctx, proto.BucketLeftOut)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	put := func(table *bus.Table, key, v string) {
		t.Helper()
		if err := table.Put(ctx, key, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Value(ctx, proto.BucketLeftOut, "n1"); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("no bucket: %v", err)
	}
	bustest.Provision(t, c, 1, 1)
	bustest.Provision(t, c, 1, 1) // again changes nothing
	if got := value("n1"); got != "" {
		t.Errorf("never written: %q", got)
	}
	a := open()
	put(a, "n1", "one")
	put(a, "n1", "one")
	put(a, "n2", "two")
	put(a, "n3", "")
	b := open()
	if keys := b.Keys(); !slices.Equal(keys, []string{"n1", "n2"}) {
		t.Errorf("keys %q", keys)
	}
	put(b, "n1", "") // removed
	put(b, "n1", "anew")
	put(b, "n2", "")
	if got := value("n1") + "," + value("n2"); got != "anew," {
		t.Errorf("read %q", got)
	}
	if keys := open().Keys(); !slices.Equal(keys, []string{"n1"}) {
		t.Errorf("keys %q", keys)
	}
	// The first writer was away meanwhile: what it knows is old.
	if err := a.Put(ctx, "n1", []byte("old")); err == nil {
		t.Error("a writer that is behind may write")
	}
	server.Restart()
	if got := value("n1"); got != "anew" {
		t.Errorf("after a restart: %q", got)
	}
	last := open()
	put(last, "n2", "again") // its marker is known
	if info, err := c.StreamInfo(ctx, "KV_"+proto.BucketLeftOut); err != nil || info.Messages != 2 {
		t.Errorf("%d messages for two keys: %v", info.Messages, err)
	}
}
