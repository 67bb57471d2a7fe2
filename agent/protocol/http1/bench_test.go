package http1

import (
	"testing"

	"github.com/weirstream/weir/agent/protocol"
)

// counter is a sink as cheap as can be.
type counter struct{ exchanges, lost uint64 }

func (c *counter) Exchange(*protocol.Exchange) { c.exchanges++ }
func (c *counter) Lost(n uint64)               { c.lost += n }

// What an exchange costs: an API's on a keep-alive connection, with the headers of a browser or a proxy.
func BenchmarkExchange(b *testing.B) {
	const common = "Host: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: application/json\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\nX-Request-Id: 8a7f4a2e\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nConnection: keep-alive\r\n"
	const response = "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Sat, 01 Aug 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n"
	tests := []struct{ name, request, response string }{
		{"plain", "GET /api/v1/items/42 HTTP/1.1\r\n" + common + "\r\n", response + "Content-Length: 6\r\n\r\nhello\n"},
		{"traced", "GET /api/v1/items/42 HTTP/1.1\r\n" + common + trace + "\r\n", response + "Content-Length: 6\r\n\r\nhello\n"},
		{"chunked", "GET /api/v1/items/42 HTTP/1.1\r\n" + common + "\r\n", response + "Transfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n0\r\n\r\n"},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			var got counter
			var c Conn
			c.Reset(NewShared(), &got, false)
			in := protocol.Segment{Dir: protocol.In, Data: []byte(tt.request), Len: len(tt.request), Turn: true}
			out := protocol.Segment{Dir: protocol.Out, Data: []byte(tt.response), Len: len(tt.response), Turn: true}
			b.ReportAllocs()
			for b.Loop() {
				c.Segment(&in)
				in.Off += uint64(in.Len)
				in.Time++
				c.Read(in.Off, in.Time)
				c.Segment(&out)
				out.Off += uint64(out.Len)
				out.Time++
			}
			if got.exchanges != uint64(b.N) || got.lost != 0 {
				b.Fatalf("%d exchanges, %d lost of %d", got.exchanges, got.lost, b.N)
			}
		})
	}
}

// A large body: segments that were not captured.
func BenchmarkBodySegment(b *testing.B) {
	var got counter
	var c Conn
	c.Reset(NewShared(), &got, false)
	head := []byte("POST / HTTP/1.1\r\nContent-Length: 4611686018427387000\r\n\r\n")
	c.Segment(&protocol.Segment{Data: head, Len: len(head), Turn: true})
	s := protocol.Segment{Off: uint64(len(head)), Len: 65536, Tail: []byte("01234567")}
	b.ReportAllocs()
	for b.Loop() {
		c.Segment(&s)
		s.Off += uint64(s.Len)
	}
}
