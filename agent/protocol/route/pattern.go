package route

import (
	"fmt"
	"strings"
)

// placeholder matches any segment; no segment of a pattern can be that.
const placeholder = "{}"

// pattern is one of the user's.
type pattern struct {
	method   string // "": any
	template string
	segments []string
	rest     bool // the last placeholder takes all that follows
}

func parsePattern(s string) (pattern, error) {
	wrong := func(why string) (pattern, error) {
		return pattern{}, fmt.Errorf("parse route pattern %q: %s, as in \"/users/{id}\" or \"GET /files/{path...}\"", s, why)
	}
	p := pattern{template: s}
	if method, path, ok := strings.Cut(s, " "); ok {
		p.method, p.template = method, strings.TrimSpace(path)
		if p.method == "" || p.method != strings.ToUpper(p.method) {
			return wrong("the method must be in capitals")
		}
	}
	if !strings.HasPrefix(p.template, "/") {
		return wrong("it must begin with a slash")
	}
	if len(p.template) > maxPath {
		return wrong(fmt.Sprintf("it is longer than %d bytes", maxPath))
	}
	segments := strings.Split(p.template[1:], "/")
	for i, segment := range segments {
		name, open := strings.CutPrefix(segment, "{")
		name, closed := strings.CutSuffix(name, "}")
		if open != closed || strings.ContainsAny(name, "{}? #") {
			return wrong("a placeholder is a whole segment")
		}
		if !open {
			p.segments = append(p.segments, segment)
			continue
		}
		name, p.rest = strings.CutSuffix(name, "...")
		if name == "" {
			return wrong("a placeholder has a name")
		}
		if p.rest && i < len(segments)-1 {
			return wrong("only the last placeholder can take the rest")
		}
		p.segments = append(p.segments, placeholder)
	}
	return p, nil
}

func (p *pattern) match(method, path string) bool {
	if p.method != "" && p.method != method || path == "" || path[0] != '/' {
		return false
	}
	path = path[1:]
	for i, want := range p.segments {
		last := i == len(p.segments)-1
		if last && p.rest {
			return true
		}
		segment, rest, more := strings.Cut(path, "/")
		if more == last || segment != want && (want != placeholder || segment == "") {
			return false
		}
		path = rest
	}
	return true
}
