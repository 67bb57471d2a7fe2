package export

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Why a receiver wasn't reached is logged: it names the receiver, but no secret.
func TestErrorsHaveNoSecrets(t *testing.T) {
	p := newPoster("http://me:secret1@127.0.0.1:1/write?token=secret2", nil, nil, time.Minute)
	defer p.Close()
	_, err := p.post(t.Context(), nil, http.Header{}, func(int) bool { return false })
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "http://me:xxxxx@127.0.0.1:1/write?xxxxx") {
		t.Error(err)
	}
}
