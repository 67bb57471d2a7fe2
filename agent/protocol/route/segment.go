package route

import "strings"

const (
	maxText  = 48 // a longer segment is somebody's text
	maxWords = 6  // of a segment; more are the title of something
	secret   = 16 // an irregular segment this long is a token rather than an id
)

// kind of a segment, or of a part of one.
type kind uint8

const (
	word  kind = iota // written by a person: kept
	id                // digits
	hash              // hexadecimal
	mixed             // letters and digits, or letters that make no word
)

// segment writes a path segment, or the placeholder that stands for it.
func (t *Templater) segment(b *strings.Builder, s string) {
	if i := strings.IndexByte(s, ';'); i >= 0 { // parameters (;jsessionid=…) are a kind of query
		s = s[:i]
	}
	if key, _, ok := strings.Cut(s, "="); ok {
		if t.name(key) != "" || key == "" {
			b.WriteString("{value}")
			return
		}
		b.WriteString(key + "={value}")
		return
	}
	if name := t.name(s); name != "" {
		b.WriteString(name)
		return
	}
	for len(s) > 0 { // digits and hashes within words: "order-123", "main.3f2a9b1c.js"
		part := s[:end(s)]
		switch t.kind(part) {
		case id:
			b.WriteString("{id}")
		case hash:
			b.WriteString("{hash}")
		default:
			b.WriteString(part)
		}
		if s = s[len(part):]; s != "" {
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
}

// name returns the placeholder for a whole segment, "" if at least parts of it are to be kept.
func (t *Templater) name(s string) string {
	switch {
	case s == "":
		return ""
	case !plain(s):
		return "{text}"
	case strings.IndexByte(s, '@') > 0:
		return "{email}"
	case s[0] == '@':
		return "{name}"
	case uuid(s):
		return "{uuid}"
	case date(s):
		return "{date}"
	}
	var kinds [mixed + 1]int
	parts := 0
	for rest := s; ; parts++ {
		n := end(rest)
		if n > 0 {
			kinds[t.kind(rest[:n])]++
		}
		if n == len(rest) {
			break
		}
		rest = rest[n+1:]
	}
	switch {
	case len(s) >= secret && (kinds[mixed] > 0 || t.letters.random(s)):
		return "{token}"
	case len(s) > maxText || kinds[word] > maxWords || parts > 2*maxWords:
		return "{text}"
	case kinds[mixed] > 0:
		return "{id}"
	case kinds[word] > 0 || kinds[id]+kinds[hash] == 0:
		return ""
	case kinds[hash] > 0:
		return "{hash}"
	}
	return "{id}"
}

// end is the length of the part that s begins with.
func end(s string) int {
	if i := strings.IndexAny(s, "-_.~:+,()!"); i >= 0 {
		return i
	}
	return len(s)
}

// kind tells what a part consisting of letters and digits is.
func (t *Templater) kind(s string) kind {
	digits, hexes, humps := 0, 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			digits++
			hexes++
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			hexes++
		}
		if i > 0 && hump(s[i-1], c) {
			humps++
		}
	}
	switch letters := len(s) - digits; {
	case s == "" || version(s):
		return word
	case letters == 0:
		return id
	case hexes == len(s) && (len(s) >= 12 || len(s) >= 6 && digits >= 2):
		return hash
	case humps > max(1, letters/3): // words in camelCase have more than two letters
		return mixed
	case digits > 2 || digits > 0 && (len(s) > 12 || humps > 0 || digitsWithin(s) && (len(s) > 5 || bothCases(s))):
		return mixed // "oauth2", "i18n" and "S3" are words
	case len(s) > 24 || len(s) >= 10 && t.letters.random(s):
		return mixed
	}
	return word
}

// version: v1, v2beta1.
func version(s string) bool {
	if len(s) < 2 || len(s) > 12 || s[0] != 'v' {
		return false
	}
	s = strings.Trim(s[1:], "0123456789")
	return s == "" || s == "alpha" || s == "beta" || s == "rc"
}

// hump: where the next word of a camelCase name begins.
func hump(a, b byte) bool { return 'a' <= a && a <= 'z' && 'A' <= b && b <= 'Z' }

func bothCases(s string) bool { return strings.ToLower(s) != s && strings.ToUpper(s) != s }

// digitsWithin reports whether a letter follows a digit.
func digitsWithin(s string) bool {
	for i := 1; i < len(s); i++ {
		if letter(s[i]) && !letter(s[i-1]) {
			return true
		}
	}
	return false
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func hexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// plain reports whether s has only the characters that names in APIs have.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; !letter(c) && (c < '0' || c > '9') && strings.IndexByte("-_.~:+,()!@", c) < 0 {
			return false
		}
	}
	return true
}

// uuid: 8-4-4-4-12 hexadecimal digits.
func uuid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') || !dash && !hexDigit(s[i]) {
			return false
		}
	}
	return true
}

// date: it begins like 2026-08-01, a time may follow.
func date(s string) bool {
	if len(s) < 10 || len(s) > 35 || s[4] != '-' || s[7] != '-' || len(s) > 10 && s[10] != 'T' && s[10] != '_' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; i != 4 && i != 7 && i != 10 && (c < '0' || c > '9') && (i < 10 || strings.IndexByte("-+:.Z", c) < 0) {
			return false
		}
	}
	return true
}

// runtimeStream: a kubelet takes exec, attach and port-forward to the container
// runtime under a secret of eight base64 characters, too few to look random.
func runtimeStream(path string) (kind string, ok bool) {
	kind, token, _ := strings.Cut(path[1:], "/")
	ok = (kind == "exec" || kind == "attach" || kind == "portforward") && len(token) == 8 && strings.ToLower(token) != token
	return kind, ok
}

// letters[a] has bit b if b often follows a in words (of technical English:
// counted in the comments of Go's standard library).
type letters [26]uint32

func newLetters() (l letters) {
	const follow = "a:bcdfgiklmnprstuvwxy b:abceijlorstuy c:acdeghiklmnoprstuvy d:acdefgilmnorstuvwy " +
		"e:abcdefghiklmnopqrstuvwxy f:acdefilnoprstuy g:aceghilmnorstu h:aeimorstuy i:abcdefgklmnoprstvxz " +
		"j:aeosu k:aegilns l:abcdefgilnoprstuvy m:abcdeiklmopstuy n:abcdefghiklmnoprstuvwy o:abcdefgiklmnoprstuvwx " +
		"p:acdeghikloprstuy q:u r:abcdefgiklmnoprstuvwy s:abcefghiklmnopqrstuwy t:acdefghilmnoprstuvwxy " +
		"u:abcdefgilmnoprst v:abeimos w:aehinors x:aceiptvx y:ceimnpst z:aeiz"
	for _, f := range strings.Fields(follow) {
		for _, c := range f[2:] {
			l[f[0]-'a'] |= 1 << (c - 'a')
		}
	}
	return l
}

// random reports whether the letters of s make no words: in words hardly a
// pair isn't in the table, in compounds one or two.
func (l *letters) random(s string) bool {
	rare := 0
	for i := 1; i < len(s); i++ {
		if a, b := s[i-1]|0x20, s[i]|0x20; !hump(s[i-1], s[i]) && letter(a) && letter(b) && l[a-'a']&(1<<(b-'a')) == 0 {
			rare++
		}
	}
	return rare > len(s)/8 // 2 of 10 letters, 3 of 16
}
