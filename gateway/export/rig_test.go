package export_test

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/gateway/export"
	"github.com/weirstream/weir/internal/bustest"
	"github.com/weirstream/weir/test/counted"
)

func TestMain(m *testing.M) { bustest.Main(m) }

var discard = slog.New(slog.DiscardHandler)

// start runs an exporter over a rig, and returns when it counts.
func start(r *counted.Rig, cfg export.Config) (e *export.Exporter, metrics *prometheus.Registry, stop func()) {
	r.Helper()
	metrics = prometheus.NewRegistry()
	cfg.Bus, cfg.Registry = bustest.Connect(r, r.Server.URL), metrics
	e, err := export.New(cfg, discard)
	if err != nil {
		r.Fatal(err)
	}
	stop = r.Run(e.Run)
	bustest.Eventually(r, e.Counting, "the exporter doesn't begin")
	return e, metrics, stop
}
