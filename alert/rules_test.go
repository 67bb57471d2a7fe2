package alert

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// merged are maps each of which has the one before it merged in nine times.
func merged(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 {x: y}\n")
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d {<<: [%s]}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	fmt.Fprintf(&b, "<<: *a%d\n", levels)
	return b.String()
}

// utf16LE is a text as Windows may write it.
func utf16LE(text string) string {
	b, err := binary.Append(nil, binary.LittleEndian, utf16.Encode([]rune("\ufeff"+text)))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// parse fails if reading a rule file takes a multiple of what any may take, or if it
// says what only programmers understand.
func parse(t *testing.T, in string) {
	t.Helper()
	begin := time.Now()
	_, err := Parse("rules.yaml", []byte(in), time.Minute)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	if err != nil && strings.Contains(err.Error(), "rulefmt.") && !strings.Contains(in, "rulefmt") {
		t.Errorf("a type is named: %v", err)
	}
}

// Whatever a rule file holds, reading it ends, without a panic and soon: the alerter
// does it again and again while it runs.
func FuzzParse(f *testing.F) {
	f.Add("&a\n<<: *a\n")
	f.Add("a: &a {<<: [*a]}\ngroups: [*a]\n")
	f.Add(merged(10))
	f.Add(utf16LE("groups: [{name: a, rules: [{record: y, labels: {a: '" + strings.Repeat("é", 100) + "'}, expr: '('}]}]"))
	f.Add("groups:\n- name: a\n  rules:\n  -\n  - record: y\n    expr: '('\n")
	f.Add("{\"groups\": [\n{\"name\": \"a\"\n\"rules\": []}\n]}\n")
	f.Add("groups:\n- name: 'a\n  rules: [\n")
	f.Add("groups:\n- &a {nmae: a}\n- *a\n- true\n- {<<: *a, [a]: b}\n- !own {name: a, name: b}\n")
	f.Add(slowRule)
	f.Fuzz(parse)
}

// So it does with much of what is wrong.
func TestParseLong(t *testing.T) {
	const rule = "  - {record: x,\n     expr: vector(1),\n     labels: {a: b}}\n"
	for what, in := range map[string]string{
		"a mistake in the middle": "groups:\n- name: a\n  rules:\n" + strings.Repeat(rule, 10000) + "   x: y\n" + strings.Repeat(rule, 10000),
		"no end of a quote":       "groups:\n- name: a\n  rules:\n" + strings.Repeat(rule, 2000) + "  - {record: 'x\n" + strings.Repeat(rule, 2000),
		"a key again and again":   strings.Repeat("a: b\n", 4000),
		"nothing but mistakes":    "groups:\n" + strings.Repeat("- {nmae: a}\n", 50000),
	} {
		t.Run(what, func(t *testing.T) { parse(t, in) })
	}
}
