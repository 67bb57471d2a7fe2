package servers_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/servers"
)

// need skips a test where a server isn't installed, unless all is required.
func need(t *testing.T) {
	t.Helper()
	if os.Getenv("WEIR_REQUIRE") != "all" {
		t.Skip("starts nginx, apache2, node and python3; set WEIR_REQUIRE=all")
	}
}

func TestEveryServerAnswersEveryPath(t *testing.T) {
	need(t)
	for _, kind := range []servers.Kind{servers.Nginx(), servers.Go(), servers.Node(), servers.Python(), servers.Apache()} {
		t.Run(kind.Name, func(t *testing.T) {
			s := servers.Start(t, kind)
			mix, want := paths(kind)
			for _, addr := range []string{s.Addr(), s.Addr6()} {
				r, err := load.Run(context.Background(), load.Plan{Addr: addr, Conns: 4, Requests: len(mix) * 4, Mix: mix})
				if err != nil {
					t.Fatal(err)
				}
				for status, n := range want {
					if r.Status[status] != n*4 {
						t.Errorf("%s: status %d: %d answers, want %d (all: %v)", addr, status, r.Status[status], n*4, r.Status)
					}
				}
				if r.Err != nil {
					t.Errorf("%s: %v", addr, r.Err)
				}
			}
		})
	}
}

// paths is a request of each sort that the kind answers, and the statuses.
func paths(kind servers.Kind) ([]load.Request, map[int]int) {
	var mix []load.Request
	want := map[int]int{}
	add := func(status int, r load.Request) {
		mix = append(mix, r)
		want[status]++
	}
	for _, n := range servers.Sizes() {
		add(200, load.Request{Path: "/c/bytes/" + strconv.Itoa(n)})
		add(200, load.Request{Method: "HEAD", Path: "/c/bytes/" + strconv.Itoa(n)})
	}
	for _, status := range kind.Status {
		add(status, load.Request{Path: "/c/status/" + strconv.Itoa(status)})
		add(200, load.Request{Path: "/c/chunked/100000"})
	}
	switch kind.Upload {
	case "POST":
		add(200, load.Request{Method: "POST", Path: "/c/upload", Body: 100_000})
		add(200, load.Request{Method: "POST", Path: "/c/upload", Body: 100_000, Chunked: true})
		add(200, load.Request{Method: "POST", Path: "/c/upload", Body: 1000, Expect: true})
	case "PUT":
		add(204, load.Request{Method: "PUT", Path: "/c/upload", Body: 100_000, Chunked: true})
	}
	return mix, want
}

func TestSerialServerQueues(t *testing.T) {
	need(t)
	s := servers.Start(t, servers.Serial(), servers.Slow(5*time.Millisecond))
	r, err := load.Run(context.Background(), load.Plan{
		Addr: s.Addr(), Conns: 8, Requests: 80, Mix: []load.Request{{Path: "/c/bytes/6"}}})
	if err != nil || r.Err != nil || r.Done != 80 {
		t.Fatalf("done %d: %v %v", r.Done, err, r.Err)
	}
	if p := r.Quantile(0.5); p < 30*time.Millisecond {
		t.Errorf("p50 of eight at a server that takes 5 ms each: %v, want about 40 ms", p)
	}
}
