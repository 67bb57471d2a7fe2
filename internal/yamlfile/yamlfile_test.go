package yamlfile_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/weirstream/weir/internal/yamlfile"
)

type file struct {
	Name  string            `yaml:"name"`
	Every model.Duration    `yaml:"every"`
	Parts []part            `yaml:"parts"`
	Tags  map[string]string `yaml:"tags"`
	Other []struct {
		Text string `yaml:"text"`
	} `yaml:"other"`
}

type part struct {
	Text  string `yaml:"text"`
	Count int    `yaml:"count"`
}

// What doesn't fit has its place, and what was expected.
func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"":            "",
		"# nothing\n": "",
		"parts:\n- &a {text: x, count: 1}\n- <<: *a\n  count: 2\n- *a\n": "",
		"name: a\nnaem: b\n":                        `f.yaml:2:1: unknown key "naem": expected one of every, name, other, parts, tags`,
		"parts:\n- text: a\n  txet: b\n":            `f.yaml:3:3: unknown key "txet": expected one of count, text`,
		"every: 5 minutes\n":                        `f.yaml:1:8: unknown unit " minutes" in duration "5 minutes": expected one such as 90s, 5m or 1h30m`,
		"parts:\n  text: a\n":                       "f.yaml:2:3: this is a map: expected a list",
		"parts:\n- {count: many}\n":                 "f.yaml:2:11: this is text: expected a number",
		"name: [a]\ntags: [b]\n":                    "f.yaml:1:7: this is a list: expected text\nf.yaml:2:7: this is a list: expected a map, key: value",
		"{name: a, every: 1m, parts: b}":            "f.yaml:1:29: this is text: expected a list",
		"{parts: [{text: a}, {text: [b]}]}":         "f.yaml:1:28: this is a list: expected text",
		"name: a\nname: b\n":                        `f.yaml:2:1: "name" is here twice: first in line 1`,
		"- a\n":                                     "f.yaml:1:1: this is a list: expected a map, key: value",
		"name: a\n\ttags: b\n":                      "f.yaml:2:1: this is no YAML: found a tab character that violates indentation",
		"name: a\nparts:\n- text: b\n   count: 1\n": "f.yaml:4:4: this is no YAML: mapping values are not allowed in this context",
		"name: a\nparts: [\n  {text: b},\n  {text: c}]\n tags: {}\nevery: 1m\n": "f.yaml:5:2: this is no YAML: did not find expected key",
		"name: a\nparts:\n- text: 'b\n- text: c\n":                              "f.yaml:3:1: this is no YAML: found unexpected end of stream",
		"name: *b\n":                                   "f.yaml:1:1: this is no YAML: unknown anchor 'b' referenced",
		"other:\n- {txet: a}\n- true\n":                "f.yaml:2:4: unknown key \"txet\": expected one of text\nf.yaml:3:3: this is true or false: expected a map, key: value",
		"parts:\n- {count: \"a\\nb\", \"c\\nd\": e}\n": "f.yaml:2:11: this is text: expected a number\nf.yaml:2:19: unknown key \"c\\nd\": expected one of count, text",
		"tags: &a {txet: b}\nparts: [*a]\n":            `f.yaml:1:11: unknown key "txet"`,
		"name: !own a\nparts: !own b\n":                "f.yaml:2:8: this is !own: expected a list",
		"parts:\n- &a {}\n- {<<: *a, [text]: b}\n":     "f.yaml:3:12: this is no key: expected text",
		"{\n\"name\": \"a\",\n\"tags\": {\n\"b\": \"c\"\n\"d\": \"e\"},\n\"parts\": []}\n": "f.yaml:5:1: this is no YAML: did not find expected ',' or '}' of what begins in line 3",
		"name: a\nparts: [\n  {text: b}\n  {text: c}]\nevery: 1m\n":                        "f.yaml:4:3: this is no YAML: did not find expected ',' or ']' of what begins in line 2",
		"name: 'a\nparts:\n- text: 'b'\n- text: c\n":                                       "f.yaml:1:1: this is no YAML: did not find expected key",
		"every: 1m\nname: \"a\n" + strings.Repeat("# b\n", 100):                            "f.yaml:2:1: this is no YAML: found unexpected end of stream",
		"every: 1m\nname: |\n" + strings.Repeat("  b\n", 100) + " tags: c\n":               "f.yaml:103:2: this is no YAML: did not find expected key",
		"name: \xff\n":                    "f.yaml:1:1: this is no YAML: invalid leading UTF-8 octet",
		"name: a\n---\nanything: there\n": "", // only the first document is read
	} {
		_, err := yamlfile.Decode("f.yaml", []byte(text), &file{})
		var mistakes yamlfile.Mistakes
		if want == "" && err == nil {
			continue
		}
		if !errors.As(err, &mistakes) || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// A byte of a value has the place that people see it at, whatever the value is
// written as; at worst it is the value's.
func TestPlaceInValue(t *testing.T) {
	for text, want := range map[string]string{
		"name: sum(x!)":                   "1:12",
		"name: 'sum(x!)'":                 "1:13",
		"name: \"sum(x!)\" # x!":          "1:13",
		"name: |\n  sum(\n    x!\n  )\n":  "3:6",
		"name: |-\n\n  sum(\n  äx!\n  )":  "4:5",
		"name: >\n  sum(\n  x!\n  )\n":    "1:7", // folded
		"name: \"\\u0073um(x!)\"":         "1:7", // escaped
		"{tags: {a: 1}, name: ü x!}":      "1:25",
		"name: &n x!\nparts: [{text: b}]": "1:11",
		// As it is UTF-16, where in the text isn't known.
		utf16LE("{tags: {a: éééééééé}, name: '!'}"): "1:29",
	} {
		var f file
		d, err := yamlfile.Decode("f.yaml", []byte(text), &f)
		if err != nil {
			t.Fatal(err)
		}
		m := d.WrongIn(d.At("name"), strings.Index(f.Name, "!"), "no")
		if got := fmt.Sprintf("%d:%d", m.Line, m.Column); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func utf16LE(text string) string {
	b, err := binary.Append(nil, binary.LittleEndian, utf16.Encode([]rune("\ufeff"+text)))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A path leads through aliases and merged maps, and ends where there is no more. A
// list's empty elements, which aren't decoded, don't count.
func TestPath(t *testing.T) {
	d, err := yamlfile.Decode("f.yaml", []byte("parts:\n- &a {text: x}\n- {<<: *a, count: 2}\n- *a\n-\n- {text: y}\n- {<<: [{}, *a]}\n"), &file{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(n *yaml.Node) string { return fmt.Sprintf("%d:%d", n.Line, n.Column) }
	for _, c := range []struct {
		n    *yaml.Node
		want string
	}{
		{d.At("parts", 1, "text"), "2:13"},
		{d.At("parts", 2, "text"), "2:13"},
		{d.KeyAt("parts", 1, "count"), "3:12"},
		{d.At("parts", 1, "none"), "3:3"},
		{d.At("parts", 3, "text"), "6:10"},
		{d.At("parts", 4, "text"), "2:13"},
		{d.At("parts", 7, "none"), "2:1"},
		{d.KeyAt("none"), "1:1"},
	} {
		if got := at(c.n); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
