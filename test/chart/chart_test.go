package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// values are the files that the chart is rendered with.
func values(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no values files: %v", err)
	}
	out := map[string][]string{"default": nil}
	for _, f := range files {
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = []string{"--values", f}
	}
	return out
}

func TestTemplates(t *testing.T) {
	for name, args := range values(t) {
		t.Run(name, func(t *testing.T) {
			if out, err := Helm(t, append([]string{"lint", Folder(), "--strict"}, args...)...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			objects := Render(t, args...)
			for key, o := range objects {
				if ns := o.At("metadata", "namespace"); ns != nil && ns != "weir" {
					t.Errorf("%s is in namespace %v", key, ns)
				}
				if spec := podSpec(o); spec != nil {
					checkPod(t, objects, key, spec)
				}
			}
			checkSelectors(t, objects)
		})
	}
}

// podSpec is that of a Pod, or of what makes pods.
func podSpec(o Object) Object {
	if o["kind"] == "Pod" {
		spec, _ := o["spec"].(map[string]any)
		return spec
	}
	spec, _ := o.At("spec", "template", "spec").(map[string]any)
	return spec
}

// checkPod: no pod may more than it needs.
func checkPod(t *testing.T, objects Objects, key string, spec Object) {
	t.Helper()
	agent := key == "DaemonSet/weir-agent"
	if got, want := spec["automountServiceAccountToken"], key == "Deployment/weir-enricher"; got != want {
		t.Errorf("%s: automountServiceAccountToken is %v", key, got)
	}
	if (spec["hostPID"] == true) != agent || spec["hostNetwork"] != nil || spec["hostIPC"] != nil {
		t.Errorf("%s: namespaces of the host: %v %v %v", key, spec["hostPID"], spec["hostNetwork"], spec["hostIPC"])
	}
	if nonRoot := spec.At("securityContext", "runAsNonRoot") == true; nonRoot == agent {
		t.Errorf("%s: runAsNonRoot is %v", key, nonRoot)
	}
	for _, c := range spec["containers"].([]any) {
		c := Object(c.(map[string]any))
		s, _ := json.Marshal(c["securityContext"])
		for _, want := range []string{`"readOnlyRootFilesystem":true`, `"allowPrivilegeEscalation":false`, `"drop":["ALL"]`} {
			if !strings.Contains(string(s), want) {
				t.Errorf("%s: no %s in %s", key, want, s)
			}
		}
		if c.At("securityContext", "privileged") != nil || (c.At("securityContext", "capabilities", "add") != nil) != agent {
			t.Errorf("%s has privileges: %s", key, s)
		}
		if c.At("resources", "limits", "memory") == nil || c.At("resources", "requests", "cpu") == nil {
			t.Errorf("%s has no bounds: %v", key, c["resources"])
		}
		checkEnvironment(t, objects, key, c)
	}
	for _, v := range list(spec["volumes"]) {
		host := Object(v.(map[string]any)).At("hostPath", "path")
		if host != nil && (!agent || host != "/run/weir-agent.lock" && host != "/sys/fs/bpf" && !strings.HasPrefix(host.(string), "/sys/fs/cgroup")) {
			t.Errorf("%s mounts %v of the host", key, host)
		}
	}
}

func list(v any) []any { l, _ := v.([]any); return l }

// checkEnvironment: a variable that no flag has would be ignored, and a Secret
// that isn't there would keep the pod from starting.
func checkEnvironment(t *testing.T, objects Objects, key string, container Object) {
	t.Helper()
	for _, e := range list(container["env"]) {
		e := Object(e.(map[string]any))
		name := e["name"].(string)
		if flag, ok := strings.CutPrefix(name, "WEIR_"); ok {
			flag = strings.ReplaceAll(strings.ToLower(flag), "_", "-")
			if !slices.Contains(flags(t), flag) && flag != "kubernetes" {
				t.Errorf("%s: %s is no flag", key, name)
			}
		}
		ref := Object{"ref": e.At("valueFrom", "secretKeyRef")}
		secret := ref.At("ref", "name")
		if secret == nil || objects["Secret/weir-nats-tls"] == nil {
			continue // none, or the user's own
		}
		if objects.Secret(t, secret.(string), ref.At("ref", "key").(string)) == "" {
			t.Errorf("%s: %s is empty", key, name)
		}
	}
}

// flags are the names of all flags of both programs.
func flags(t *testing.T) (names []string) {
	t.Helper()
	root := filepath.Join(Folder(), "..", "..", "cmd")
	defined := regexp.MustCompile(`Var(?:P)?\([^,]+, "([a-z-]+)"`)
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range defined.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		return err
	})
	if err != nil || len(names) < 10 {
		t.Fatalf("%d flags found: %v", len(names), err)
	}
	return names
}

// checkSelectors: whatever selects pods selects some, and what `kubectl weir`
// looks for is there once.
func checkSelectors(t *testing.T, objects Objects) {
	t.Helper()
	var pods []map[string]any
	for _, o := range objects {
		if labels, ok := o.At("spec", "template", "metadata", "labels").(map[string]any); ok {
			pods = append(pods, labels)
		}
	}
	for key, o := range objects {
		var selector any
		switch o["kind"] {
		case "Service":
			selector = o.At("spec", "selector")
		case "NetworkPolicy":
			selector = o.At("spec", "podSelector", "matchLabels")
		case "PodDisruptionBudget", "Deployment", "StatefulSet", "DaemonSet", "PodMonitor":
			selector = o.At("spec", "selector", "matchLabels")
		default:
			continue
		}
		if !slices.ContainsFunc(pods, func(labels map[string]any) bool { return includes(labels, selector.(map[string]any)) }) {
			t.Errorf("%s selects no pods: %v", key, selector)
		}
	}
	if objects["StatefulSet/weir-nats"] == nil {
		return
	}
	count := func(kind string, labels map[string]any) (n int) {
		for _, o := range objects {
			if have, _ := o.At("metadata", "labels").(map[string]any); o["kind"] == kind && includes(have, labels) {
				n++
			}
		}
		return n
	}
	if n := count("Service", map[string]any{"app.kubernetes.io/name": "weir", "app.kubernetes.io/component": "nats"}); n != 1 {
		t.Errorf("%d Services of NATS", n)
	}
	secrets := map[string]any{"app.kubernetes.io/name": "weir", "weir.io/credentials": "events"}
	if n := count("Secret", secrets); n != 1 && objects["Secret/weir-nats-tls"] != nil {
		t.Errorf("%d Secrets for the command line", n)
	}
}

func includes(labels, wanted map[string]any) bool {
	for k, v := range wanted {
		if labels[k] != v {
			return false
		}
	}
	return len(wanted) > 0
}

func TestAgentHasExactlyItsCapabilities(t *testing.T) {
	got := Render(t)["DaemonSet/weir-agent"].At("spec", "template", "spec", "containers", 0, "securityContext", "capabilities", "add")
	if want := "[BPF PERFMON NET_ADMIN SYS_PTRACE DAC_READ_SEARCH]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestOptOut: the enricher is told the selector as kubectl writes it, and may
// read namespaces only then.
func TestOptOut(t *testing.T) {
	const role = "ClusterRole/weir-enricher-weir"
	env := func(o Object) string {
		return fmt.Sprint(o.At("spec", "template", "spec", "containers", 0, "env"))
	}
	none := Render(t)
	if text := env(none["Deployment/weir-enricher"]); strings.Contains(text, "OPT_OUT") || strings.Contains(text, "true,") {
		t.Errorf("by default: %s", text)
	}
	if rules := fmt.Sprint(none[role]); strings.Contains(rules, "namespaces") || !strings.Contains(rules, "pods") {
		t.Errorf("by default: %s", rules)
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	err := os.WriteFile(values, []byte(`
agent: {leaveOut: [curl, /system.slice/backup.service]}
optOut:
  namespaceSelector:
    matchLabels: {team: a, example.org/env: dev, empty: ""}
    matchExpressions:
      - {key: tier, operator: In, values: [x, z]}
      - {key: zone, operator: NotIn, values: [w]}
      - {key: secret, operator: Exists}
      - {key: public, operator: DoesNotExist}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	some := Render(t, "-f", values)
	text := env(some["Deployment/weir-enricher"])
	const selector = "map[name:WEIR_OPT_OUT_NAMESPACES value:empty=,example.org/env=dev,team=a,tier in (x,z),zone notin (w),secret,!public]"
	if !strings.Contains(text, selector) || !strings.Contains(text, "map[name:WEIR_KUBERNETES value:true]") {
		t.Errorf("no %s in %s", selector, text)
	}
	if rules := fmt.Sprint(some[role].At("rules", 0)); rules != "map[apiGroups:[] resources:[pods services nodes namespaces] verbs:[get list watch]]" {
		t.Errorf("rules: %s", rules)
	}
	if text := env(some["DaemonSet/weir-agent"]); !strings.Contains(text, "map[name:WEIR_LEAVE_OUT value:curl,/system.slice/backup.service]") {
		t.Errorf("agent: %s", text)
	}
}

// TestPage: viewers need a token, which is kept, and the gateway is a NATS user
// of its own.
func TestPage(t *testing.T) {
	objects := Render(t)
	if token := objects.Secret(t, "weir-gateway", "token"); len(token) < 16 {
		t.Errorf("a token of %d characters", len(token))
	}
	spec, err := json.Marshal(podSpec(objects["Deployment/weir-gateway"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"weir-nats-gateway"`, `"secretName":"weir-gateway"`, `"WEIR_TOKEN_FILE","value":"/etc/weir/page/token"`, `"args":["gateway"]`} {
		if !strings.Contains(string(spec), want) {
			t.Errorf("no %s in %s", want, spec)
		}
	}
	if port := objects["Service/weir-gateway"].At("spec", "ports", 0, "targetPort"); port != "http" {
		t.Errorf("the Service leads to %v", port)
	}
	named := podSpec(Render(t, "--set", "gateway.url=https://weir.example.com/")["Deployment/weir-gateway"])
	if text := fmt.Sprint(named); !strings.Contains(text, "map[name:WEIR_PAGE_URL value:https://weir.example.com/]") {
		t.Errorf("gateway: %s", text)
	}
	mine := Render(t, "--set", "gateway.tokenSecret=mine")
	if mine["Secret/weir-gateway"] != nil {
		t.Error("a Secret is made beside one's own")
	}
	if none := Render(t, "--set", "gateway.enabled=false"); none["Deployment/weir-gateway"] != nil || none["NetworkPolicy/weir-gateway"] != nil {
		t.Error("a gateway that isn't enabled")
	}
}

// TestAlerter: files are where the settings say, as they were given, and only
// those that there are: a pattern that no file matches is a mistake.
func TestAlerter(t *testing.T) {
	none := Render(t)
	if text := fmt.Sprint(podSpec(none["Deployment/weir-alerter"])); strings.Contains(text, "WEIR_RULES") || strings.Contains(text, "WEIR_SLO") || strings.Contains(text, "WEIR_WEBHOOKS") {
		t.Errorf("by default: %s", text)
	}
	const rules = "groups:\n- name: shop\n  rules: [{alert: A, expr: up < 1, annotations: {summary: \"{{ $value }} & 'more'\"}}]\n"
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--set", "gateway.url=https://weir.example.com/,alerter.webhooks=webhooks: [],alerter.externalLabels.env=prod,alerter.alertmanagers={http://a:9093,https://b}"}
	for _, key := range []string{"rules.shop", "slos.cart", "slos.pay"} {
		args = append(args, "--set-file", "alerter."+key+"="+file)
	}
	some := Render(t, args...)
	for key, of := range map[string]string{"rules": "shop.yaml", "slos": "pay.yaml"} {
		if got := some["ConfigMap/weir-alerter-"+key].At("data", of); got != rules {
			t.Errorf("%s: %v", key, got)
		}
	}
	if got := some.Secret(t, "weir-alerter", "webhooks.yaml"); got != "webhooks: []" {
		t.Errorf("webhooks: %s", got)
	}
	spec := podSpec(some["Deployment/weir-alerter"])
	env := fmt.Sprint(spec.At("containers", 0, "env"))
	for name, value := range map[string]string{
		"RULES": "/etc/weir/rules/*.yaml", "SLO": "/etc/weir/slos/cart.yaml,/etc/weir/slos/pay.yaml", "WEBHOOKS": "/etc/weir/webhooks/webhooks.yaml",
		"ALERTMANAGER": "http://a:9093,https://b", "EXTERNAL_LABELS": "env=prod", "PAGE_URL": "https://weir.example.com/",
	} {
		if want := "map[name:WEIR_" + name + " value:" + value + "]"; !strings.Contains(env, want) {
			t.Errorf("no %s in %s", want, env)
		}
	}
	mounts, volumes := fmt.Sprint(spec.At("containers", 0, "volumeMounts")), fmt.Sprint(spec["volumes"])
	for name, volume := range map[string]string{
		"rules": "configMap:map[name:weir-alerter-rules] name:rules", "slos": "configMap:map[name:weir-alerter-slos] name:slos", "webhooks": "secretName:weir-alerter",
	} {
		if want := "map[mountPath:/etc/weir/" + name + " name:" + name; !strings.Contains(mounts, want) || !strings.Contains(volumes, volume) {
			t.Errorf("no %s in %s, or no %s in %s", want, mounts, volume, volumes)
		}
	}
	egress := fmt.Sprint(some["NetworkPolicy/weir-alerter"].At("spec", "egress"))
	if want := "map[ports:[map[port:9093 protocol:TCP]]] map[ports:[map[port:443 protocol:TCP]]] map[ports:[map[port:443 protocol:TCP]]]"; !strings.Contains(egress, want) {
		t.Errorf("no %s in %s", want, egress)
	}
	if off := Render(t, "--set", "alerter.enabled=false"); off["Deployment/weir-alerter"] != nil || off["NetworkPolicy/weir-alerter"] != nil {
		t.Error("an alerter that isn't enabled")
	}
}

// TestSizes repeats the formula of values.yaml for its defaults.
func TestSizes(t *testing.T) {
	objects := Render(t)
	args := ""
	for key, o := range objects {
		if strings.HasPrefix(key, "Job/weir-provision-") {
			args = fmt.Sprint(o.At("spec", "template", "spec", "containers", 0, "args"))
		}
	}
	raw := 2 * 3600 * (2*1000*34 + 10*10*1024)
	enriched := 4 * 3600 * (2*1000*50 + 10*12*1024)
	latency, rollup, history := 1000*3_000_000, 1000*1_000_000, 1000*250_000
	want := fmt.Sprintf("[provision --partitions=8 --replicas=3 --raw-bytes=%d --enriched-bytes=%d --latency-bytes=%d --rollup-bytes=%d --history-bytes=%d]", raw, enriched, latency, rollup, history)
	if args != want {
		t.Errorf("%s, want %s", args, want)
	}
	gib := (float64(raw+enriched+latency+rollup+history) + 0.5*(1<<30)) * 1.25 / (1 << 30)
	size := objects["StatefulSet/weir-nats"].At("spec", "volumeClaimTemplates", 0, "spec", "resources", "requests", "storage")
	if want := fmt.Sprintf("%dGi", int(gib)+1); size != want {
		t.Errorf("volume of %v, want %s", size, want)
	}
	store := (int(gib) + 1) << 30 * 4 / 5 // a fifth of the volume is room
	conf := objects["ConfigMap/weir-nats"].At("data", "nats.conf").(string)
	if want := fmt.Sprintf("max_file_store: %d\n", store); !strings.Contains(conf, want) {
		t.Errorf("no %q in\n%s", want, conf)
	}
}

// TestVersionsAgree: tests run the nats-server of go.mod, so the chart and
// docker-compose.yaml have that one.
func TestVersionsAgree(t *testing.T) {
	root := filepath.Join(Folder(), "..", "..")
	module, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`nats-server/v2 v(\S+)`).FindSubmatch(module)[1]
	for file, want := range map[string]string{
		"charts/weir/values.yaml": "tag: " + string(version) + "\n", "docker-compose.yaml": "image: nats:" + string(version) + "\n",
	} {
		if text, err := os.ReadFile(filepath.Join(root, file)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("no %q in %s: %v", want, file, err)
		}
	}
}

// TestTypos puts an unknown key into every map of values.yaml.
func TestTypos(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(Folder(), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	paths := mapsOf(all, "")
	if len(paths) < 20 {
		t.Fatalf("only %d maps in values.yaml", len(paths))
	}
	for _, path := range paths {
		out, err := Template(t, "--set", path+"typo=1")
		if err == nil || !strings.Contains(err.Error(), "additional properties 'typo' not allowed") {
			t.Errorf("%stypo: %v %.100s", path, err, out)
		}
	}
}

// mapsOf are the paths of the maps in values, but for those with keys of the user.
func mapsOf(values map[string]any, path string) (paths []string) {
	paths = append(paths, path)
	free := []string{"nodeSelector", "labels", "rules", "slos", "externalLabels"}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if m, ok := values[key].(map[string]any); ok && !slices.Contains(free, key) {
			paths = append(paths, mapsOf(m, path+key+".")...)
		}
	}
	return paths
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"partitions=3", "partitions"},
		{"partitions=128", "partitions"},
		{"nats.replicas=2", "nats/replicas"},
		{"logLevel=verbose", "logLevel"},
		{"enricher.replicas=0", "enricher/replicas"},
		{"sizing.nodes=many", "sizing/nodes"},
		{"agent.resources.limits.memory=100M", "agent/resources/limits/memory"},
		{"agent.cgroup=cgroup", "agent/cgroup"},
		{"agent.routes={users}", "agent/routes/0"},
		{"agent.leaveOut={system.slice/backup.service}", "agent/leaveOut/0"},
		{"optOut.namespaceSelector.env=dev", "env"},
		{"optOut.namespaceSelector.matchLabels.env=no way", "optOut/namespaceSelector/matchLabels/env"},
		{"optOut.namespaceSelector.matchExpressions[0].key=env", "operator"},
		{"optOut.namespaceSelector.matchExpressions[0].key=env,optOut.namespaceSelector.matchExpressions[0].operator=In", "values"},
		{"agent.extraCapabilities={SYS_ADMIN}", "agent/extraCapabilities/0"},
		{"agent.maxUnavailable=0", "agent/maxUnavailable"},
		{"agent.seccompProfile.type=Localhost", "localhostProfile goes with type Localhost"},
		{"agent.seccompProfile.localhostProfile=x", "localhostProfile goes with type Localhost"},
		{"agent.tolerations[0].operater=Exists", "operater"},
		{"nats.enabled=false", "say where your NATS is with nats.external.url"},
		{"nats.enabled=false,nats.external.url=nats://n:4222", "nats.external.credentialsSecret"},
		{"nats.external.url=nats://n:4222", "set nats.enabled to false"},
		{"nats.enabled=false,nats.external.url=http://n:4222", "nats/external/url"},
		{"nats.enabled=false,nats.external.url=nats://u:p@n:4222", "nats/external/url"},
		{"nats.volume.size=1Gi", "nats.volume.size 1Gi is less than the streams need"},
		{"nats.volume.size=10GB", "nats/volume/size"},
		{"nats.syncInterval=10", "nats/syncInterval"},
		{"gateway.cacheMiB=1", "gateway/cacheMiB"},
		{"gateway.url=weir.example.com", "gateway/url"},
		{"gateway.otlp.endpoint=collector:4318", "gateway/otlp/endpoint"},
		{"gateway.otlp.endpoint=http://user:password@collector:4318", "gateway/otlp/endpoint"},
		{"gateway.otlp.endpoint=http://collector:4318,gateway.replicas=2", "set gateway.replicas to 1"},
		{"gateway.otlp.protocol=http/json", "gateway/otlp/protocol"},
		{"gateway.remoteWrite.url=mimir:9009", "gateway/remoteWrite/url"},
		{"gateway.remoteWrite.url=http://mimir:9009,gateway.replicas=2", "set gateway.replicas to 1"},
		{"gateway.remoteWrite.histograms=all", "gateway/remoteWrite/histograms"},
		{"gateway.otlp.tracesSample=2", "gateway/otlp/tracesSample"},
		{"alerter.replicas=0", "alerter/replicas"},
		{"alerter.rules.shop=", "alerter/rules/shop"},
		{"alerter.rules.a/b=groups: []", "a/b"},
		{"alerter.alertmanagers={alertmanager:9093}", "alerter/alertmanagers/0"},
		{`alerter.externalLabels.team=a\,b`, "alerter/externalLabels/team"},
		{"alerter.externalLabels.my-team=a", "my-team"},
		{"alerter.webhooks=webhooks: [],alerter.webhooksSecret=mine", "alerter.webhooks and alerter.webhooksSecret contradict"},
		{"networkPolicy.natsFrom[0].podSelektor.x=1", "podSelektor"},
	} {
		if out, err := Template(t, "--set", c.set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%.100s", c.set, err, c.want, out)
		}
	}
}

// TestDashboard: its queries name metrics that the services have.
func TestDashboard(t *testing.T) {
	board, err := os.ReadFile(filepath.Join(Folder(), "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(board, &parsed); err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, dir := range []string{"agent", "enricher", "aggregator", "internal/status"} {
		files, _ := filepath.Glob(filepath.Join(Folder(), "..", "..", dir, "*.go"))
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	metric := regexp.MustCompile(`weir_(?:agent|enricher|aggregator|\([a-z|]+\))_([a-z_]+)`)
	n := 0
	for _, p := range parsed.Panels {
		for _, target := range p.Targets {
			for _, m := range metric.FindAllStringSubmatch(target.Expr, -1) {
				n++
				if !strings.Contains(source.String(), `"`+m[1]+`"`) {
					t.Errorf("no service has %s: %s", m[0], target.Expr)
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d metrics in the dashboard", n)
	}
}
