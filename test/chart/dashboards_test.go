package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weirstream/weir/internal/promql"
)

// variables are Grafana's, with a value each that it could put in their place.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$namespace", ".*", "$workload", "cart|payment")

// TestDashboards: the queries of dashboards are right, and ask for what there is.
func TestDashboards(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(Folder(), "dashboards", "*.json"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			UID        string
			Templating struct {
				List []struct{ Name, Definition string }
			}
			Panels []struct {
				ID      int
				Title   string
				Targets []struct{ RefID, Expr string }
			}
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var names []string
		for _, v := range board.Templating.List {
			names = append(names, v.Name)
			if v.Definition != "" {
				checkVariable(t, v.Name, v.Definition)
			}
		}
		if !slices.Equal(names, []string{"datasource", "namespace", "workload"}) || uids[board.UID] {
			t.Errorf("%s: uid %s, variables %s", file, board.UID, names)
		}
		uids[board.UID] = true
		ids := map[int]bool{}
		for _, p := range board.Panels {
			if ids[p.ID] || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d, %s: the id is not its own, or it asks nothing", file, p.ID, p.Title)
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				checkQuery(t, p.Title+" "+target.RefID, target.Expr, strings.HasSuffix(file, "weir-prometheus.json"))
			}
		}
		if len(ids) < 8 {
			t.Errorf("%s has %d panels", file, len(ids))
		}
	}
}

// checkVariable: a variable's values are those of the label of its name.
func checkVariable(t *testing.T, name, definition string) {
	t.Helper()
	selector, begins := strings.CutPrefix(variables.Replace(definition), "label_values(")
	selector, ends := strings.CutSuffix(selector, ", "+name+")")
	if _, err := promql.ParseSelectors([]string{selector}); err != nil || !begins || !ends {
		t.Errorf("%s: %v: %s", name, err, definition)
	}
}

// checkQuery: of what is scraped there are native histograms alone, and no losses.
func checkQuery(t *testing.T, where, query string, scraped bool) {
	t.Helper()
	text := variables.Replace(query)
	if strings.Contains(text, "$") {
		t.Errorf("%s: a variable that isn't known: %s", where, text)
	}
	expr, err := promql.Parse(text)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	selectors := parser.ExtractSelectors(expr)
	if len(selectors) == 0 {
		t.Errorf("%s: no metric: %s", where, text)
	}
	for _, matchers := range selectors {
		for _, m := range matchers {
			if m.Name == model.MetricNameLabel && !exists(m.Value, scraped) {
				t.Errorf("%s: there is no %s", where, m.Value)
			}
		}
	}
}

func exists(metric string, scraped bool) bool {
	all := promql.Metrics()
	if scraped {
		return all[metric].Type == "histogram"
	}
	for _, suffix := range []string{"_count", "_sum", "_bucket"} {
		if base, ok := strings.CutSuffix(metric, suffix); ok && all[base].Type == "histogram" {
			return true
		}
	}
	return all[metric].Type != ""
}

// TestDashboardsRender: Grafana's sidecar gets the files as they are.
func TestDashboardsRender(t *testing.T) {
	const name = "ConfigMap/weir-datasource-dashboard"
	if Render(t)[name] != nil {
		t.Error("dashboards that nobody asked for")
	}
	objects := Render(t, "--set", "grafana.dashboards.enabled=true")
	for _, file := range []string{"datasource", "prometheus"} {
		text, err := os.ReadFile(filepath.Join(Folder(), "dashboards", "weir-"+file+".json"))
		if err != nil {
			t.Fatal(err)
		}
		o := objects["ConfigMap/weir-"+file+"-dashboard"]
		if o.At("data", "weir-"+file+".json") != string(text) || o.At("metadata", "labels", "grafana_dashboard") != "1" || o.At("metadata", "namespace") != "weir" {
			t.Errorf("%s: %.300v", file, o)
		}
	}
	elsewhere := Render(t, "--set", "grafana.dashboards.enabled=true,grafana.dashboards.namespace=monitoring,grafana.dashboards.labels.team=a")[name]
	if elsewhere.At("metadata", "namespace") != "monitoring" || elsewhere.At("metadata", "labels", "team") != "a" {
		t.Errorf("%v", elsewhere["metadata"])
	}
}
