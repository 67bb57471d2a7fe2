package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContainerNames(t *testing.T) {
	folder := t.TempDir()
	id := strings.Repeat("0123456789abcdef", 4)
	write := func(id, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(folder, id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, id, "config.v2.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := containerNames{folder: folder}
	want := func(id string, now int64, want string) {
		t.Helper()
		if got := c.name(id, now); got != want {
			t.Errorf("name of %.8s at %d is %q, want %q", id, now, got, want)
		}
	}
	want(id, 1, "") // not described yet
	write(id, `{"StreamConfig":{},"State":{"Running":true},"ID":"`+id+`","Config":{"Env":["SECRET=x"]},"Name":"/shop-cart"}`)
	want(id, 2, "") // remembered for a while
	want(id, 1+processNS, "shop-cart")
	write(id, `{"Name":"/renamed"}`)
	want(id, 2+processNS, "shop-cart")
	want(id, 1+2*processNS, "renamed")
	want("", 1, "")

	for i, broken := range []string{"", "{", `{"Name":7}`, `[]`, `"` + strings.Repeat("x", maxContainerFile) + `"`} {
		other := fmt.Sprintf("%064x", i)
		write(other, broken)
		want(other, 1, "")
	}
	for i := range 3 * maxContainerNames {
		c.name(fmt.Sprintf("%064x", i+1000), 1)
	}
	if len(c.byID) > maxContainerNames {
		t.Errorf("%d names are kept, the bound is %d", len(c.byID), maxContainerNames)
	}
}
