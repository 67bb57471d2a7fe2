package route

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"runtime"
	"strings"
	"testing"
)

func newTemplater(t testing.TB, cfg Config) *Templater {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTemplates(t *testing.T) {
	tests := []struct{ path, want string }{
		// What people write is kept.
		{"/", "/"},
		{"", ""},
		{"*", "*"},
		{"/healthz", "/healthz"},
		{"/api/v1/orders", "/api/v1/orders"},
		{"/api/v2beta1/users/", "/api/v2beta1/users/"},
		{"/oauth2/authorize", "/oauth2/authorize"},
		{"/i18n/de.json", "/i18n/de.json"},
		{"/getUserById", "/getUserById"},
		{"/UserService/ListAllUsers", "/UserService/ListAllUsers"},
		{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Check"},
		{"/static/js/app.min.js", "/static/js/app.min.js"},
		{"/apple-touch-icon.png", "/apple-touch-icon.png"},
		{"/.well-known/openid-configuration", "/.well-known/openid-configuration"},
		{"/a//b", "/a//b"},
		{"/wp-content/themes/storefront/style.css", "/wp-content/themes/storefront/style.css"},
		{"/internationalization/characteristics", "/internationalization/characteristics"},

		// Numbers, dates, hashes.
		{"/users/123", "/users/{id}"},
		{"/portforward/yESYMIVV", "/portforward/{token}"},
		{"/exec/commands", "/exec/commands"},
		{"/users/123/orders/9", "/users/{id}/orders/{id}"},
		{"/orders/order-123", "/orders/order-{id}"},
		{"/2026/08/01/news", "/{id}/{id}/{id}/news"},
		{"/reports/2026-08-01", "/reports/{date}"},
		{"/reports/2026-08-01T12:00:00.5Z", "/reports/{date}"},
		{"/v1/Users(5)/Orders", "/v1/Users({id})/Orders"},
		{"/ip/192.168.1.17", "/ip/{id}"},
		{"/batch/1,2,3", "/batch/{id}"},
		{"/items/550e8400-e29b-41d4-a716-446655440000", "/items/{uuid}"},
		{"/commits/3f2a9b1c4d5e6f708192a3b4c5d6e7f801234567", "/commits/{hash}"},
		{"/objects/deadbeefcafebabe", "/objects/{hash}"},
		{"/assets/main.3f2a9b1c.js", "/assets/main.{hash}.js"},
		{"/users/user123", "/users/{id}"},
		{"/r/aB3xY9", "/r/{id}"},

		// People's data and secrets.
		{"/users/jane.doe@example.com/mails", "/users/{email}/mails"},
		{"/@jane", "/{name}"},
		{"/search/caf%C3%A9%20au%20lait", "/search/{text}"},
		{"/search/café", "/search/{text}"},
		{"/cart;jsessionid=1A2B3C4D5E6F", "/cart"},
		{"/reset/token=hunter2", "/reset/token={value}"},
		{"/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c/x", "/{token}/x"},
		{"/pay/sk_live_51HabcDEFghiJKL", "/pay/{token}"},
		{"/share/dQw4w9WgXcQ", "/share/{id}"},
		{"/share/qwhzkxjvbnmtrplk", "/share/{token}"},
		{"/share/QWHZKXJVBNMTRPLK", "/share/{token}"},
		{"/blog/how-to-measure-what-your-callers-really-feel-today", "/blog/{text}"},
		{"/<script>alert(1)</script>", "/{text}/{text}"},
		{"/{other}", "/{text}"},
		{"/\x00\r\n", "/{text}"},
		{"no slash", "{text}"},

		// Depth and length.
		{"/a/b/c/d/e/f/g/h/i/j/k/l", "/a/b/c/d/e/f/g/h/i/j/k/l"},
		{"/a/b/c/d/e/f/g/h/i/j/k/l/m/n", "/a/b/c/d/e/f/g/h/i/j/k/l/{rest}"},
		{"/a/" + strings.Repeat("x", 1000), "/a/"},
	}
	r := newTemplater(t, Config{})
	for _, tt := range tests {
		if got := r.Template("shop", "GET", tt.path); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.path, got, tt.want)
		}
	}
}

func TestPatterns(t *testing.T) {
	r := newTemplater(t, Config{Patterns: []string{
		"/api/v1/orders/{order}/items/{item}",
		"GET /api/v1/orders/{order}",
		"/users/me",
		"/users/{name}",
		"/files/{path...}",
		"/",
	}})
	tests := []struct{ method, path, want string }{
		{"GET", "/api/v1/orders/x/items/y", "/api/v1/orders/{order}/items/{item}"},
		{"PUT", "/api/v1/orders/x/items/y", "/api/v1/orders/{order}/items/{item}"},
		{"GET", "/api/v1/orders/x/items/y/z", "/api/v1/orders/x/items/y/z"},
		{"GET", "/api/v1/orders/17", "/api/v1/orders/{order}"},
		{"PUT", "/api/v1/orders/17", "/api/v1/orders/{id}"},
		{"GET", "/users/me", "/users/me"},
		{"GET", "/users/jane", "/users/{name}"},
		{"GET", "/users/", "/users/"},
		{"GET", "/files/a/b/c", "/files/{path...}"},
		{"GET", "/files/", "/files/{path...}"},
		{"GET", "/files", "/files"},
		{"GET", "/", "/"},
	}
	for _, tt := range tests {
		if got := r.Template("shop", tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
}

func TestWrongPatterns(t *testing.T) {
	for _, p := range []string{"", "users", "get /users", " /users", "GET users", "/a/{b", "/a/b}", "/a/{}", "/a/x{b}", "/{a...}/b", "/{a b}", "/" + strings.Repeat("x", 1000)} {
		if _, err := New(Config{Patterns: []string{p}}); err == nil || !strings.Contains(err.Error(), "parse route pattern") {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// Over the bound new operations are "{other}", old ones keep their names, and other keys theirs.
func TestBound(t *testing.T) {
	r := newTemplater(t, Config{MaxOperations: 3})
	for _, tt := range []struct{ key, method, path, want string }{
		{"a", "GET", "/one", "/one"},
		{"a", "GET", "/two", "/two"},
		{"a", "PUT", "/two", "/two"},
		{"a", "PUT", "/one", Other},
		{"a", "GET", "/three", Other},
		{"a", "GET", "/one", "/one"},
		{"b", "GET", "/three", "/three"},
	} {
		if got := r.Template(tt.key, tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s %s: got %s, want %s", tt.key, tt.method, tt.path, got, tt.want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	// words makes names without digits, which no rule shortens.
	words := func(i int) string {
		syllables := []string{"ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su"}
		s := "/"
		for ; i > 0; i /= 10 {
			s += syllables[i%10]
		}
		return s
	}
	r := newTemplater(t, Config{})
	before := heap()
	for i := range 1_000_000 {
		r.Template("one", "GET", words(i))
	}
	for i := range 100_000 {
		r.Template(fmt.Sprint("process", i), "GET", words(i))
	}
	for i := range 200 * 500 {
		r.Template(fmt.Sprint("large", i/200), "GET", words(i))
	}
	if grown := int64(heap()) - int64(before); grown > 16<<20 {
		t.Errorf("%d bytes after a million paths and 100,000 keys", grown)
	}
	if len(r.young)+len(r.old) > 2*maxCached || r.count > maxOperations+2*DefaultMaxOperations {
		t.Errorf("%d and %d paths, %d operations", len(r.young), len(r.old), r.count)
	}
	runtime.KeepAlive(r)
}

// Tokens as they are really made never survive, not even 8 characters of them.
func TestSecretsAreHidden(t *testing.T) {
	lower := func(b []byte) string {
		s := make([]byte, len(b))
		for i, c := range b {
			s[i] = 'a' + c%26
		}
		return string(s)
	}
	makers := map[string]struct {
		make  func([]byte) string
		share float64 // that may get through
	}{
		"base64url":      {base64.RawURLEncoding.EncodeToString, 0.0005},
		"base64":         {func(b []byte) string { return url.PathEscape(base64.StdEncoding.EncodeToString(b)) }, 0.0005},
		"base32":         {base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString, 0.0005},
		"hex":            {hex.EncodeToString, 0.0005},
		"prefixed":       {func(b []byte) string { return "ghp_" + base64.RawURLEncoding.EncodeToString(b) }, 0.0005},
		"letters only":   {lower, 0.02},
		"capitals only":  {func(b []byte) string { return strings.ToUpper(lower(b)) }, 0.02},
		"after a word":   {func(b []byte) string { return "key-" + base64.RawURLEncoding.EncodeToString(b) }, 0.0005},
		"after an equal": {func(b []byte) string { return "key=" + lower(b) }, 0},
	}
	for name, m := range makers {
		t.Run(name, func(t *testing.T) {
			r := newTemplater(t, Config{MaxOperations: 1 << 30})
			const n = 5000
			random := rand.NewChaCha8([32]byte{1})
			through := 0
			for range n {
				b := make([]byte, 16+random.Uint64()%17)
				_, _ = random.Read(b)
				s := m.make(b)
				got := r.Template("shop", "GET", "/reset/"+s)
				for i := 0; i+8 <= len(s); i++ {
					if strings.Contains(got, s[i:i+8]) {
						if through++; float64(through) > m.share*n {
							t.Fatalf("%s: %s (and %d more)", s, got, through-1)
						}
						break
					}
				}
			}
		})
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/users/123", "/a=b;c", "//", "/%00", "/2026-08-01T00", "/a-b_c.d~e:f+g,h(i)!j", strings.Repeat("/a", 50)} {
		f.Add("GET", s)
	}
	r := newTemplater(f, Config{Patterns: []string{"GET /p/{x}/{rest...}"}, MaxOperations: 1 << 30})
	f.Fuzz(func(t *testing.T, method, path string) {
		got := r.Template("key", method, path)
		if len(got) > 2*maxPath+maxSegments*8 {
			t.Errorf("%d bytes of %d", len(got), len(path))
		}
		for _, c := range []byte(got) {
			if c <= ' ' || c > '~' || c == '<' || c == '"' || c == '%' {
				t.Errorf("%q: got %q", path, got)
			}
		}
		if again := r.template(method, path); again != got {
			t.Errorf("%q: first %q, then %q", path, got, again)
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	paths := func(n int) []string {
		p := make([]string, n)
		for i := range p {
			p[i] = fmt.Sprintf("/api/v1/orders/%d/items/%08x", i, i*7919)
		}
		return p
	}
	for _, tt := range []struct {
		name  string
		paths []string
	}{{"cached", paths(100)}, {"new", paths(100_000)}} {
		b.Run(tt.name, func(b *testing.B) {
			r := newTemplater(b, Config{})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.Template("shop", "GET", tt.paths[i%len(tt.paths)])
			}
		})
	}
}
