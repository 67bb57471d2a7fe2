package gateway

import (
	"fmt"
	"net/http"
	"time"
)

// stream is server-sent events to one viewer.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    time.Time
}

func newStream(w http.ResponseWriter, r *http.Request) *stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for proxies that collect answers
	return &stream{w: w, control: http.NewResponseController(w)}
}

// send fails when the viewer has taken nothing for writeTime.
func (s *stream) send(event string, v any) error {
	return s.write("event: %s\ndata: %s\n\n", event, marshal(v))
}

// beat keeps a connection alive that has nothing to say.
func (s *stream) beat() error {
	if time.Since(s.sent) < beatEvery {
		return nil
	}
	return s.write(": \n\n")
}

func (s *stream) write(format string, args ...any) error {
	s.sent = time.Now()
	if err := s.control.SetWriteDeadline(s.sent.Add(writeTime)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.control.Flush()
}

// serveLive answers /api/live: how things are, after each commit and every few
// seconds. Viewers then ask for what they show.
func (g *gateway) serveLive(w http.ResponseWriter, r *http.Request) {
	defer g.viewers.Add(-1)
	if g.viewers.Add(1) > maxViewers {
		g.metrics.refused.WithLabelValues("viewers").Inc()
		fail(w, fmt.Errorf("%d viewers are connected, the limit: close one", maxViewers))
		return
	}
	s := newStream(w, r)
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		changed, _ := g.history.Changed()
		alerted, _ := g.alerts.Changed()
		if err := s.send("live", g.live()); err != nil {
			if r.Context().Err() == nil {
				g.metrics.slowest.Inc()
			}
			return
		}
		select { // not more often than this
		case <-time.After(changeEvery):
		case <-r.Context().Done():
			return
		}
		select {
		case <-changed:
		case <-alerted:
		case <-beat.C:
		case <-r.Context().Done():
			return
		}
	}
}
