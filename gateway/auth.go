package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// cookie holds the token of a browser that has shown it once.
const cookie = "weir_token"

// guard lets viewers in. With a token: who knows it. Without one: who asks for
// this host by a name of loopback or by an address, so that a page of elsewhere
// whose name was made to point here (DNS rebinding) gets nothing. Other sites
// may link to the page, but not ask for its data.
type guard struct {
	token [sha256.Size]byte
	open  bool // no token is needed
	next  http.Handler
	deny  func(reason string)
}

func newGuard(token string, next http.Handler, deny func(string)) *guard {
	return &guard{token: sha256.Sum256([]byte(token)), open: token == "", next: next, deny: deny}
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if g.open && !ownName(r.Host) {
		g.deny("host")
		http.Error(w, "this page answers to localhost and to IP addresses, not to "+printable(r.Host), http.StatusMisdirectedRequest)
		return
	}
	if site := r.Header.Get("Sec-Fetch-Site"); strings.HasPrefix(r.URL.Path, "/api/") && site != "" && site != "same-origin" && site != "none" {
		g.deny("cross_site")
		http.Error(w, "data is for this page only", http.StatusForbidden)
		return
	}
	if !g.open && !g.known(r) {
		g.ask(w, r)
		return
	}
	g.next.ServeHTTP(w, r)
}

// known reports whether a request carries the token.
func (g *guard) known(r *http.Request) bool {
	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && g.matches(given) {
		return true
	}
	c, err := r.Cookie(cookie)
	return err == nil && g.matches(c.Value)
}

func (g *guard) matches(given string) bool {
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}

// ask takes the token from a form or from the address, once, and asks for it
// otherwise. It leaves the address, since addresses are kept and passed on.
func (g *guard) ask(w http.ResponseWriter, r *http.Request) {
	given := r.URL.Query().Get("token")
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, 4096)
		given = r.PostFormValue("token")
	}
	if given != "" && g.matches(given) {
		http.SetCookie(w, &http.Cookie{
			Name: cookie, Value: given, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
		})
		q := r.URL.Query()
		q.Del("token")
		http.Redirect(w, r, (&url.URL{Path: "/", RawQuery: q.Encode()}).String(), http.StatusSeeOther)
		return
	}
	g.deny("token")
	if strings.HasPrefix(r.URL.Path, "/api/") {
		writeJSON(w, http.StatusUnauthorized, problem{Error: "a token is needed: send it as Authorization: Bearer, or open the page with ?token="})
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(askPage)) // the viewer may be gone
}

const askPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Weir</title>
<meta name="viewport" content="width=device-width">
<h1>Weir</h1><p>This page needs a token: that of <code>--token-file</code>, or of the address that <code>weir up</code> prints.</p>
<form method="post"><label>Token <input name="token" type="password" autocomplete="current-password" autofocus></label> <button>Open</button></form></html>
`

// setHeaders: nothing is loaded from elsewhere, no script but ours runs, and
// nobody may frame the page.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
		"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// ownName reports whether a Host header can't be a name of elsewhere.
func ownName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host) != nil
}

// Loopback reports whether only this host can reach an address to listen at.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// printable is what a client sent, fit for an answer.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), 100)])
}
