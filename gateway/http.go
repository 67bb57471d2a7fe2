package gateway

import (
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/weirstream/weir/internal/history"
	"github.com/weirstream/weir/internal/query"
	"github.com/weirstream/weir/internal/status"
	"github.com/weirstream/weir/proto"
	"github.com/weirstream/weir/web"
)

const (
	maxViewers  = 128             // connected at once
	maxAtOnce   = 4               // answers worked out at once
	maxSearches = 2               // of past events, at once
	maxScrapes  = 4               // at once, federation among them: each holds a copy of all sums
	queueTime   = 5 * time.Second // how long a request waits for its turn
	answerTime  = 20 * time.Second
	writeTime   = 10 * time.Second // how long a viewer may take nothing
	beatEvery   = 2 * time.Second
	changeEvery = 250 * time.Millisecond // viewers are told of changes so often at most
)

var errAway = errors.New("NATS is away: the page goes on when it is back")

// handler serves the page, its data, and what operators ask of every service.
func (g *gateway) handler(cfg Config) (http.Handler, error) {
	page, err := newFiles(web.Files)
	if err != nil {
		return nil, err
	}
	open := status.Handler(cfg.Registry, g.ready(cfg.Ready))
	viewers := http.NewServeMux()
	viewers.Handle("GET /", page)
	viewers.HandleFunc("GET /api/live", g.serveLive)
	viewers.HandleFunc("GET /api/events", g.events)
	viewers.HandleFunc("GET /metrics/latency", g.scrape("scrape", g.exporter.ServeHTTP))
	viewers.HandleFunc("GET /federate", g.scrape("federate", g.federate))
	for kind, answer := range map[string]func(*http.Request) (any, error){
		"services": g.spanned(func(s *history.Span, q url.Values) (any, error) {
			of, err := selection(q)
			return services(s, of), err
		}),
		"service": g.spanned(func(s *history.Span, q url.Values) (any, error) {
			w, side, err := workload(q)
			return service(s, w, side), err
		}),
		"map": g.spanned(func(s *history.Span, q url.Values) (any, error) {
			of, err := selection(q)
			return graph(s, of), err
		}),
		"exemplars": g.exemplars,
		"health": func(r *http.Request) (any, error) {
			i, err := g.eventInterval(r.URL.Query())
			if err != nil {
				return nil, err
			}
			return g.health(r.Context(), i)
		},
		"alerts": g.alertsPage,
		"filter": checkFilter,
	} {
		viewers.HandleFunc("GET /api/"+kind, func(w http.ResponseWriter, r *http.Request) { g.answer(w, r, kind, answer) })
	}
	viewers.HandleFunc("GET /api/budgets", func(w http.ResponseWriter, r *http.Request) {
		g.answerAt(w, r, "budgets", g.budgetState(), g.budgetsPage)
	})
	viewers.HandleFunc("GET /api/silences", func(w http.ResponseWriter, r *http.Request) {
		g.answerAt(w, r, "silences", g.silencesState(), g.silencesPage)
	})
	g.addPrometheus(viewers)
	guarded := newGuard(cfg.Token, viewers, func(reason string) { g.metrics.refused.WithLabelValues(reason).Inc() })
	mux := http.NewServeMux()
	mux.Handle("/", guarded)
	for _, p := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.Handle("GET "+p, open)
	}
	return mux, nil
}

// scrape answers at most maxScrapes at once.
func (g *gateway) scrape(kind string, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case g.scrapes <- struct{}{}:
			defer func() { <-g.scrapes }()
			answer(w, r)
		default:
			g.metrics.refused.WithLabelValues(kind).Inc()
			http.Error(w, fmt.Sprintf("%d scrapes are being answered, the limit: try again", maxScrapes), http.StatusServiceUnavailable)
		}
	}
}

// spanned is an answer from the windows of the interval asked for.
func (g *gateway) spanned(show func(*history.Span, url.Values) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (out any, err error) {
		q := r.URL.Query()
		i, err := g.interval(q)
		if err != nil {
			return nil, err
		}
		shown := g.history.Show(r.Context(), i, func(s *history.Span) { out, err = show(s, q) })
		return out, cmp.Or(shown, err)
	}
}

// answer works an answer out, or shares the one that others asked for just now.
func (g *gateway) answer(w http.ResponseWriter, r *http.Request, kind string, work func(*http.Request) (any, error)) {
	// An idle pipeline's windows go by without changes.
	window := query.Floor(time.Now().UnixNano(), proto.WindowNS)
	g.answerAt(w, r, kind, fmt.Sprintf("%d %d", g.change(), window), work)
}

// answerAt is an answer that stays the same as long as state does.
func (g *gateway) answerAt(w http.ResponseWriter, r *http.Request, kind, state string, work func(*http.Request) (any, error)) {
	g.metrics.answered.WithLabelValues(kind).Inc()
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	key := fmt.Sprintf("%s %s?%s", state, kind, r.URL.Query().Encode())
	body, err := g.answers.get(ctx, key, func(ctx context.Context) ([]byte, error) {
		out, err := work(r.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		return marshal(out), nil
	})
	if err != nil {
		g.metrics.refused.WithLabelValues(kind).Inc()
		fail(w, slow(err, "this", answerTime))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	write(w, r, body)
}

// slow says which limit a deadline was.
func slow(err error, what string, limit time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s takes longer than %s, the limit: choose a shorter interval", what, limit)
	}
	return err
}

// fail answers with an error as JSON.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusServiceUnavailable
	var bad badRequest
	var filter *query.FilterError
	if errors.As(err, &bad) || errors.As(err, &filter) {
		code = http.StatusBadRequest
	}
	writeJSON(w, code, problemOf(err))
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(marshal(v)) // the viewer may be gone
}

// write sends a body, compressed if it is worth it, to a viewer who takes it.
func write(w http.ResponseWriter, r *http.Request, body []byte) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Add("Vary", "Accept-Encoding")
	if len(body) < 1024 || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is right
	_, _ = z.Write(body)
	_ = z.Close()
}

// files is the page, hashed once so that browsers ask whether it has changed.
type files map[string]file

type file struct {
	body       []byte
	kind, hash string
}

func newFiles(of fs.FS) (files, error) {
	out := files{}
	err := fs.WalkDir(of, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(of, name)
		sum := sha256.Sum256(body)
		out["/"+name] = file{body, contentType(name), `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	out["/"] = out["/index.html"]
	return out, err
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8" // whatever the system's table says
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return mime.TypeByExtension(path.Ext(name))
}

func (f files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := f[r.URL.Path]
	if !ok {
		http.Error(w, "no such page: views are parts of /", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", file.hash)
	if strings.Contains(r.Header.Get("If-None-Match"), file.hash) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", file.kind)
	write(w, r, file.body)
}
