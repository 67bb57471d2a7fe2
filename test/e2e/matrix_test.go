package e2e

import (
	"strconv"
	"testing"

	"github.com/weirstream/weir/test/load"
	"github.com/weirstream/weir/test/servers"
)

// TestEveryRequestOfEveryServer: keep-alive and not, 1 to 64 connections, IPv4
// and IPv6, bodies of 0 B to 10 MB both ways, chunked, pipelined, HEAD, every
// sort of status.
func TestEveryRequestOfEveryServer(t *testing.T) {
	machine.Need(t)
	up := machine.Up(t)
	s := &scene{T: t}
	for _, kind := range []servers.Kind{servers.Nginx(), servers.Go(), servers.Node(), servers.Python()} {
		s.matrix(servers.Start(t, kind))
	}
	apache := servers.Start(t, servers.Apache())
	s.send("apache-deferred", "apache2", load.Plan{Addr: apache.Addr(), Requests: 500, Conns: 8, Close: true, Mix: get(6)})
	s.send("apache-keep", "apache2", load.Plan{Addr: apache.Addr6(), Requests: 1000, Conns: 8, Mix: get(6, 1000)})

	up.Streams().Settle(settle)
	s.check(up.Streams())
	up.Stop(settle)
}

func get(sizes ...int) (mix []load.Request) {
	for _, n := range sizes {
		mix = append(mix, load.Request{Path: "/bytes/" + strconv.Itoa(n)})
	}
	return mix
}

func (s *scene) matrix(server *servers.Server) {
	kind, v4, v6 := server.Kind, server.Addr(), server.Addr6()
	send := func(name string, plan load.Plan) { s.send(kind.Name+"-"+name, kind.Name, plan) }

	send("one", load.Plan{Addr: v4, Requests: 1000, Conns: 1, Mix: get(6)})
	send("many", load.Plan{Addr: v6, Requests: 3000, Conns: 64, Mix: append(get(0, 6, 1000, 100_000),
		load.Request{Method: "HEAD", Path: "/bytes/1000"})})
	send("close", load.Plan{Addr: v4, Requests: 800, Conns: 16, Close: true, Mix: get(0, 6)})
	send("close-six", load.Plan{Addr: v6, Requests: 200, Conns: 1, Close: true, Mix: get(1000)})
	send("large", load.Plan{Addr: v4, Requests: 12, Conns: 4, Mix: append(get(10_000_000, 6),
		load.Request{Path: "/chunked/10000000"})})
	send("pipelined", load.Plan{Addr: v4, Requests: 4000, Conns: 4, Pipeline: 20, Mix: get(6, 0, 1000)})

	var statuses []load.Request
	for _, status := range kind.Status {
		statuses = append(statuses, load.Request{Path: "/status/" + strconv.Itoa(status)},
			load.Request{Path: "/chunked/1000"})
	}
	send("status", load.Plan{Addr: v6, Requests: 50 * len(statuses), Conns: 4, Mix: statuses})

	var uploads []load.Request
	for _, size := range []int{0, 6, 100_000, 10_000_000} {
		uploads = append(uploads, load.Request{Method: kind.Upload, Path: "/upload", Body: size},
			load.Request{Method: kind.Upload, Path: "/upload", Body: size, Chunked: true})
	}
	send("upload", load.Plan{Addr: v4, Requests: 5 * len(uploads), Conns: 2, Mix: uploads})
	send("expect", load.Plan{Addr: v6, Requests: 100, Conns: 2, Mix: []load.Request{
		{Method: kind.Upload, Path: "/upload", Body: 1000, Expect: true}}})
	s.extras(server)
}

// extras are what only some servers do.
func (s *scene) extras(server *servers.Server) {
	switch server.Name {
	case "nginx":
		s.send("nginx-early", "nginx", load.Plan{Addr: server.Addr(), Requests: 40, Conns: 2, Mix: []load.Request{
			{Method: "POST", Path: "/upload", Body: 100_000}, {Path: "/bytes/6"}}})
	case "goserver":
		s.send("goserver-early", "goserver", load.Plan{Addr: server.Addr(), Requests: 40, Conns: 2, Mix: []load.Request{
			{Method: "POST", Path: "/early", Body: 1_000_000, Chunked: true}, {Path: "/bytes/6"}}})
		s.send("goserver-hints", "goserver", load.Plan{Addr: server.Addr6(), Requests: 100, Conns: 2, Mix: []load.Request{
			{Path: "/hints"}}})
		fallthrough
	case "node":
		s.send(server.Name+"-upgrade", server.Name, load.Plan{Addr: server.Addr(), Requests: 40, Conns: 4, Mix: []load.Request{
			{Path: "/upgrade", Upgrade: true}, {Path: "/bytes/6"}}})
	}
}
