package shop

import (
	"context"
	_ "embed"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weirstream/weir/alert"
	"github.com/weirstream/weir/alert/rules"
	"github.com/weirstream/weir/alert/slo"
	"github.com/weirstream/weir/internal/bus"
	"github.com/weirstream/weir/proto"
)

var (
	//go:embed alerts.yaml
	alertRules []byte
	//go:embed objectives.yaml
	objectives []byte
)

// AddRule adds a rule to those in a folder: it alerts at once, as Added.
func AddRule(dir string) error {
	return os.WriteFile(filepath.Join(dir, "alerts.yaml"), slices.Concat(alertRules, added), 0o600)
}

var added = []byte(`
  - name: added
    interval: 10s
    rules: [{alert: Added, expr: vector(1), labels: {severity: ticket}, annotations: {summary: it was added}}]
`)

// Alerter runs a real one over the shop until ctx ends, which makes up for the
// rounds of some time before now. dir is for its rule file.
func Alerter(ctx context.Context, c *bus.Conn, dir string, past time.Duration, log *slog.Logger) error {
	file := filepath.Join(dir, "alerts.yaml")
	if err := os.WriteFile(file, alertRules, 0o600); err != nil {
		return err
	}
	lane, err := c.OpenLane(ctx, bus.LaneConfig{Stream: proto.StreamAlerts, Subject: proto.SubjectAlertCommit})
	if err != nil {
		return err
	}
	at := time.Now().Add(-past).UTC()
	record, err := json.Marshal(proto.AlertRecord{V: proto.AlertRecordVersion, Time: at, Groups: map[string]proto.AlertGroup{file + ";shop": {Evaluated: at}}})
	if err != nil {
		return err
	}
	if _, err := lane.Commit(ctx, nil, record, 1, 0, 0); err != nil {
		return err
	}
	return alert.Run(ctx, alert.Config{
		Bus: c, Holder: "shop", Rules: []string{file}, More: func() ([]*alert.Group, error) {
			own, err := alert.Parse("", rules.Weir, alert.DefaultInterval)
			if err != nil {
				return nil, err
			}
			of, err := slo.Load(slo.File{Name: "objectives.yaml", Data: objectives})
			return append(own, of...), err
		},
	}, log)
}
