package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

const secret = "0123456789abcdef"

func request(path, host string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestGuard(t *testing.T) {
	inside := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	open := newGuard("", inside, func(string) {})
	closed := newGuard(secret, inside, func(string) {})
	const in = http.StatusTeapot
	for _, c := range []struct {
		name  string
		guard *guard
		r     *http.Request
		want  int
	}{
		{"localhost", open, request("/", "localhost:7070"), in},
		{"loopback", open, request("/", "127.0.0.1:7070"), in},
		{"IPv6", open, request("/", "[::1]:7070"), in},
		{"a name below localhost", open, request("/", "weir.localhost"), in},
		{"a name that was made to point here", open, request("/api/services", "evil.example:7070"), http.StatusMisdirectedRequest},
		{"one that only begins right", open, request("/", "localhost.evil.example"), http.StatusMisdirectedRequest},
		{"no name", open, request("/", ""), http.StatusMisdirectedRequest},
		{"another site asks for data", open, request("/api/services", "localhost", "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"a sister site asks for data", open, request("/api/services", "localhost", "Sec-Fetch-Site", "same-site"), http.StatusForbidden},
		{"another site links to the page", open, request("/", "localhost", "Sec-Fetch-Site", "cross-site"), in},
		{"the page asks", open, request("/api/services", "localhost", "Sec-Fetch-Site", "same-origin"), in},
		{"no token", closed, request("/", "weir.example"), http.StatusUnauthorized},
		{"no token for data", closed, request("/api/services", "weir.example"), http.StatusUnauthorized},
		{"no token for PromQL", closed, request("/api/v1/query?query=1", "weir.example"), http.StatusUnauthorized},
		{"a wrong token", closed, request("/api/services", "weir.example", "Authorization", "Bearer x"+secret), http.StatusUnauthorized},
		{"an empty token", closed, request("/api/services", "weir.example", "Authorization", "Bearer "), http.StatusUnauthorized},
		{"the token", closed, request("/api/services", "weir.example", "Authorization", "Bearer "+secret), in},
		{"its cookie", closed, request("/api/services", "weir.example", "Cookie", cookie+"="+secret), in},
		{"another's cookie", closed, request("/", "weir.example", "Cookie", cookie+"=y"), http.StatusUnauthorized},
		{"the token in the address", closed, request("/?token="+secret+"&view=map", "weir.example"), http.StatusSeeOther},
		{"a wrong one in the address", closed, request("/?token=z", "weir.example"), http.StatusUnauthorized},
	} {
		w := httptest.NewRecorder()
		c.guard.ServeHTTP(w, c.r)
		if w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.want)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", c.name, csp)
		}
		if strings.Contains(w.Body.String(), secret) || strings.Contains(w.Header().Get("Location"), secret) {
			t.Errorf("%s tells the token: %v %s", c.name, w.Header(), w.Body)
		}
	}
}

// The form gives a cookie that scripts can't read and other sites don't send.
func TestGuardTakesTheForm(t *testing.T) {
	g := newGuard(secret, http.NotFoundHandler(), func(string) {})
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(url.Values{"token": {secret}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	set := w.Header().Get("Set-Cookie")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" ||
		!strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Strict") {
		t.Errorf("%d to %q, cookie %q", w.Code, w.Header().Get("Location"), set)
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:7070": true, "localhost:1": true, "[::1]:7070": true, "127.8.8.8:1": true,
		":7070": false, "0.0.0.0:7070": false, "[::]:7070": false, "10.0.0.1:7070": false, "example.org:80": false, "": false,
	} {
		if got := Loopback(address); got != want {
			t.Errorf("%q is loopback: %v", address, got)
		}
	}
}
