package slo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weirstream/weir/internal/yamlfile"
)

// File is an OpenSLO file: YAML, of any number of documents.
type File struct {
	Name string // for messages
	Data []byte
}

// node is a place in a file; all that is wrong there goes to one list.
type node struct {
	*yaml.Node
	file     string
	mistakes *yamlfile.Mistakes
}

// documents are those of a file, without empty ones.
func documents(f File, mistakes *yamlfile.Mistakes) (all []node) {
	decoder := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var d yaml.Node
		err := decoder.Decode(&d)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			*mistakes = append(*mistakes, yamlfile.Syntax(f.Name, f.Data, err))
			return all
		}
		if n := d.Content[0]; n.Tag != "!!null" {
			all = append(all, node{n, f.Name, mistakes})
		}
	}
}

// wrong says what is. An indicator is read once for each objective, so the same
// may be said again.
func (n node) wrong(format string, args ...any) {
	m := yamlfile.Mistake{File: n.file, Line: n.Line, Column: n.Column, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(*n.mistakes, m) {
		*n.mistakes = append(*n.mistakes, m)
	}
}

// at is another node of the same file.
func (n node) at(other *yaml.Node) node {
	for other.Kind == yaml.AliasNode {
		other = other.Alias
	}
	return node{other, n.file, n.mistakes}
}

// keys are the values of a map by their keys; no others than the known ones may
// be there.
func (n node) keys(what string, known ...string) map[string]node {
	all := n.pairs(what)
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if k := n.at(n.Content[i]); !slices.Contains(known, k.Value) {
			k.wrong("unknown key %q in %s: expected one of %s", k.Value, what, strings.Join(known, ", "))
		}
	}
	return all
}

// pairs are the values of a map of any keys.
func (n node) pairs(what string) map[string]node {
	if n.Kind != yaml.MappingNode {
		n.wrong("%s is not a map: expected key: value", what)
		return nil
	}
	all := map[string]node{}
	for i := 0; i < len(n.Content); i += 2 {
		k := n.at(n.Content[i])
		if _, twice := all[k.Value]; twice {
			k.wrong("%q is here twice", k.Value)
		}
		all[k.Value] = n.at(n.Content[i+1])
	}
	return all
}

// list are the elements of a list of at least one.
func (n node) list(what string) (all []node) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		n.wrong("%s is not a list of at least one", what)
		return nil
	}
	for _, c := range n.Content {
		all = append(all, n.at(c))
	}
	return all
}

// text is a value that isn't empty.
func (n node) text(what string) string {
	if n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!null" {
		n.wrong("%s is not a value: expected text", what)
		return ""
	}
	return n.Value
}

// number is one above least and, if that isn't 0, below most.
func (n node) number(what string, least, most float64, expected string) (float64, bool) {
	f, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || err != nil || !(f > least) || most != 0 && !(f < most) || f > 1e9 {
		n.wrong("%s %q: expected %s", what, n.Value, expected)
		return 0, false
	}
	return f, true
}

// one is a value that is one of several.
func (n node) one(what string, of ...string) (string, bool) {
	if n.Kind == yaml.ScalarNode && slices.Contains(of, n.Value) {
		return n.Value, true
	}
	n.wrong("%s %q: expected %s", what, n.Value, strings.Join(of, " or "))
	return "", false
}

// need is the value of a key that must be there.
func (n node) need(keys map[string]node, what string, key string) (node, bool) {
	v, ok := keys[key]
	if !ok && n.Kind == yaml.MappingNode {
		n.wrong("%s has no %s", what, key)
	}
	return v, ok
}
