package alert

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/internal/history"
)

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

func newHistory(c *bus.Conn) *history.History {
	return history.New(history.Config{Bus: c, Bytes: 64 << 20}, quiet)
}
