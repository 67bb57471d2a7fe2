package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/histogram"
	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/proto"
)

// requests is a source of one request more of each workload than of the one
// before, in a minute. After some questions it gives no answer any more.
type requests struct {
	workloads, answers int
	asked              int
}

func (s *requests) Select(ctx context.Context, ask promql.Ask) (*promql.Answer, error) {
	if s.asked++; s.asked > s.answers {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	a := &promql.Answer{Edges: []int64{0, int64(time.Minute)}}
	for i := range s.workloads {
		key := query.Key{Workload: fmt.Sprint("w", i), Side: proto.SideServer, Protocol: "http"}
		if ask.Wanted(&key) {
			read := func(int, bool, bool) *histogram.Histogram { return &histogram.Histogram{Count: uint64(i) + 1} }
			a.Series = append(a.Series, &promql.Series{Key: key, Windows: []int{0}, Read: read})
		}
	}
	return a, nil
}

const requestsNow = "http_server_request_duration_seconds_count"

// Of an objective of many series the worst are shown.
func TestBudgetRows(t *testing.T) {
	g := &gateway{budgets: promql.New(&requests{workloads: 5, answers: 2}, 1)}
	rows, leftOut, err := g.budget(t.Context(), &proto.Objective{ErrorRatio: requestsNow}, time.Unix(60, 0), time.Minute, time.Minute, 2)
	if err != nil || leftOut != 3 || len(rows) != 2 || *rows[0].Ratio != 5 || *rows[1].Ratio != 4 {
		t.Errorf("%+v, %d left out, %v", rows, leftOut, err)
	}
}

// What is worked out when the time is up is the answer, and it is for all who
// ask in that minute.
func TestBudgetsInTime(t *testing.T) {
	source := &requests{workloads: 1, answers: 2}
	log := slog.New(slog.DiscardHandler)
	g := &gateway{history: history.New(history.Config{}, log), alerts: newAlerts(nil, log), budgets: promql.New(source, 1), answers: newAnswers(1)}
	g.metrics = newMetrics(prometheus.NewRegistry(), g)
	objective := proto.RuleGroup{Objective: &proto.Objective{ErrorRatio: requestsNow}}
	g.alerts.rules = &proto.AlertRules{Groups: []proto.RuleGroup{objective, objective, objective}}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		w := httptest.NewRecorder()
		g.answerAt(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/budgets", nil), "budgets", "", g.budgetsPage)
		cancel()
		var got budgetsAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Rows) != 1 || got.LeftOut != 2 || got.Missing == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if source.asked != 3 {
		t.Errorf("%d questions, want 3: two of the first objective, and one that had no answer in time", source.asked)
	}
}
