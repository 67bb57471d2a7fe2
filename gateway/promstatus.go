package gateway

import (
	"cmp"
	"math"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirstream/weir/internal/promql"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/internal/status"
)

// promConfig is what clients look for in a Prometheus's configuration: how far
// apart samples are, and the step of subqueries that give none.
const promConfig = "global:\n  scrape_interval: 10s\n  evaluation_interval: 1m\n"

// promFlags are those that have a meaning here.
var promFlags = map[string]string{
	"query.lookback-delta": "5m", "query.max-concurrency": "2", "query.max-samples": strconv.Itoa(promql.MaxSamples), "query.timeout": "20s", "storage.tsdb.retention.time": "1d",
}

// buildInfo names the Prometheus whose engine and API this is: clients choose by
// it what they ask for.
func (a *promAPI) buildInfo(*http.Request) (*promData, error) {
	return success(map[string]string{
		"version": promql.Version, "revision": status.Version(), "branch": "weir", "buildUser": "", "buildDate": "", "goVersion": runtime.Version(),
	}), nil
}

func (a *promAPI) runtimeInfo(*http.Request) (*promData, error) {
	host, _ := os.Hostname() // "" says that it isn't known
	folder, _ := os.Getwd()
	return success(map[string]any{
		"startTime": a.started, "lastConfigTime": a.started, "serverTime": time.Now(), "reloadConfigSuccess": true, "corruptionCount": 0,
		"hostname": host, "CWD": folder, "goroutineCount": runtime.NumGoroutine(), "GOMAXPROCS": runtime.GOMAXPROCS(0),
		"GOMEMLIMIT": debug.SetMemoryLimit(-1), "GOGC": os.Getenv("GOGC"), "GODEBUG": os.Getenv("GODEBUG"),
		"storageRetention": promFlags["storage.tsdb.retention.time"],
	}), nil
}

// tsdbStat is a name and how many there are of it.
type tsdbStat struct {
	Name  string `json:"name"`
	Value int    `json:"value"`
}

// tsdb says how many series there are, and which names and labels make them many.
func (a *promAPI) tsdb(r *http.Request) (*promData, error) {
	most, err := promLimit(r.Form)
	if err != nil {
		return nil, err
	}
	all, warnings, err := a.engine.Names(query.Interval{ToNS: math.MaxInt64}).Series(r.Context(), nil)
	if err != nil {
		return nil, failed(err)
	}
	byMetric, byPair, values, bytes := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for _, l := range all {
		byMetric[l.Get(model.MetricNameLabel)]++
		l.Range(func(l labels.Label) {
			pair := l.Name + "=" + l.Value
			if byPair[pair]++; byPair[pair] == 1 {
				values[l.Name]++
				bytes[l.Name] += len(l.Value)
			}
		})
	}
	top := func(of map[string]int) []tsdbStat {
		stats := make([]tsdbStat, 0, len(of))
		for name, n := range of {
			stats = append(stats, tsdbStat{name, n})
		}
		slices.SortFunc(stats, func(x, y tsdbStat) int {
			return cmp.Or(cmp.Compare(y.Value, x.Value), strings.Compare(x.Name, y.Name))
		})
		return stats[:min(len(stats), cmp.Or(most, 10))]
	}
	state := a.history.State()
	d := success(map[string]any{
		"headStats": map[string]int64{
			"numSeries": int64(len(all)), "numLabelPairs": int64(len(byPair)), "chunkCount": 0,
			"minTime": state.Since / 1e6, "maxTime": state.Complete / 1e6,
		},
		"seriesCountByMetricName": top(byMetric), "seriesCountByLabelValuePair": top(byPair),
		"labelValueCountByLabelName": top(values), "memoryInBytesByLabelName": top(bytes),
	})
	d.Warnings = warnings
	return d, nil
}

// constant is an answer that is always the same.
func constant(data any) func(*http.Request) (*promData, error) {
	return func(*http.Request) (*promData, error) { return success(data), nil }
}
