// Prints the p99 of every operation in WEIR_LATENCY: of the last 24 hours, then as it happens.
package main

import (
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/weirstream/weir/proto"
)

func main() {
	nc := must(nats.Connect(append(os.Args[1:], nats.DefaultURL)[0]))
	js := must(nc.JetStream())
	messages := must(js.SubscribeSync(proto.SubjectsLatency, nats.OrderedConsumer()))
	for msg, err := range messages.Msgs() {
		m := must(proto.DecodeLatency(must(msg, err).Data))
		for _, p := range m.Points {
			fmt.Println(m.Workload, p.Side, p.Attrs[proto.AttrRoute], p.Hist.Count, "requests, p99 ms:", p.Hist.Quantile(0.99)/1e6)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
