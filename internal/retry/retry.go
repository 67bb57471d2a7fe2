// Package retry says when what refused something wants to be asked again: the
// receivers of alerts and of exported data.
package retry

import (
	"net/http"
	"strconv"
	"time"
)

// Most is what a receiver may ask for.
const Most = 5 * time.Minute

// After is how long an HTTP answer's Retry-After asks to wait (RFC 9110, section
// 10.2.3: seconds, or until a time), Most at most; 0 if it doesn't say.
func After(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, Most)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), Most)
	}
	return 0
}
