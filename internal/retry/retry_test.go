package retry

import (
	"net/http"
	"testing"
	"time"
)

func TestAfter(t *testing.T) {
	date := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(http.TimeFormat) }
	for text, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-1": 0, "0": 0, "7": 7 * time.Second, "301": Most, "99999999999999999999": 0,
		date(time.Minute): time.Minute, date(time.Hour): Most, date(-time.Hour): 0,
	} {
		if got := After(http.Header{"Retry-After": {text}}); (want - got).Abs() > 5*time.Second {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
