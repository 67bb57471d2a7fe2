package alert

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirstream/weir/internal/silence"
)

// Two Alertmanagers of a cluster, that tell each other in a while, are told of each
// silence once. Of one that doesn't answer no more is asked.
func TestClusterIsToldOnce(t *testing.T) {
	var mu sync.Mutex
	var there []amSilence
	var since []time.Time
	posts := 0
	cluster := func(answers bool) *url.URL {
		own := map[int]bool{}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if r.Method == http.MethodPost && !answers {
				posts++
				panic(http.ErrAbortHandler)
			}
			if r.Method == http.MethodPost {
				var s amSilence
				if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
					t.Error(err)
				}
				own[len(there)] = true
				there, since = append(there, s), append(since, time.Now())
				return
			}
			seen := []amSilence{}
			for i, s := range there {
				if answers && (own[i] || time.Since(since[i]) > gossip/3) {
					seen = append(seen, s)
				}
			}
			if err := json.NewEncoder(w).Encode(seen); err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(s.Close)
		to, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	var silences []*silence.Silence
	for range 3 {
		s, err := silence.New([]string{"Slow"}, time.Hour, "", "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		silences = append(silences, s)
	}
	a := &alerter{cfg: Config{Resend: time.Minute}, log: quiet, m: newMetrics(prometheus.NewRegistry()), now: time.Now}
	adding := make(chan struct{}, 1)
	var showing sync.WaitGroup
	for _, to := range []*url.URL{cluster(true), cluster(true)} {
		showing.Go(func() {
			m := mirror{alerter: a, url: to, adding: adding}
			if m.show(t.Context(), silences); m.said != "" {
				t.Error(m.said)
			}
		})
	}
	showing.Wait()
	mu.Lock()
	n := len(there)
	mu.Unlock()
	if n != len(silences) {
		t.Errorf("the cluster has %d silences, want %d", n, len(silences))
	}
	m := mirror{alerter: a, url: cluster(false), adding: adding}
	m.show(t.Context(), silences)
	mu.Lock()
	defer mu.Unlock()
	if m.said == "" || posts > 2 { // the client itself may try again
		t.Errorf("one that doesn't answer was asked %d times: %s", posts, m.said)
	}
}
