// Prints a line for each change of an alert in WEIR_ALERTS, once, however often it is restarted.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const stream = "WEIR_ALERTS"

func main() {
	severity := flag.String("severity", "*", "only alerts of this one")
	server := flag.String("server", nats.DefaultURL, "address of NATS")
	name := flag.String("name", "printer", "of the consumer: programs with one name share the changes")
	file := flag.String("file", "weir-alerts.last", "where the id of the last change is kept")
	flag.Parse()

	nc := must(nats.Connect(*server, nats.MaxReconnects(-1)))
	js := must(jetstream.New(nc))
	consumer := must(js.CreateOrUpdateConsumer(context.Background(), stream, jetstream.ConsumerConfig{
		Durable:       *name,
		FilterSubject: "weir.alert." + *severity + ".*",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       2e9, // how long the next life waits for what this one had
		MaxAckPending: 1,   // in order: so there is one change at most that may come again
	}))
	last, err := os.ReadFile(*file)
	if err != nil && !os.IsNotExist(err) {
		panic(err)
	}
	messages := must(consumer.Messages(jetstream.PullMaxMessages(1),
		jetstream.WithMessagesErrOnMissingHeartbeat(false))) // NATS may be away for a while
	for {
		msg := must(messages.Next())
		// Printed, remembered, acknowledged, in this order. If the program is killed
		//   before it has printed, the change comes again;
		//   after it has remembered, the change comes again too, is known, and isn't printed;
		//   in the moment between, it is printed twice. Only a program whose output and memory are one
		//   thing has no such moment: a transaction, or an incident whose key is the id.
		if id := msg.Headers().Get("ce-id"); id != string(last) && ours(msg) {
			print(msg)
			must(0, os.WriteFile(*file+".new", []byte(id), 0o600))
			must(0, os.Rename(*file+".new", *file)) // all of it or none
			last = []byte(id)
		}
		must(0, msg.Ack())
	}
}

// ours is false of what somebody else has put into the stream.
func ours(msg jetstream.Msg) bool {
	named := msg.Headers().Values("Nats-Expected-Stream")
	return len(named) > 0 && named[len(named)-1] == stream
}

func print(msg jetstream.Msg) {
	var alert struct {
		Status      string
		Silenced    bool
		Labels      json.RawMessage
		Annotations struct{ Summary string }
	}
	must(0, json.Unmarshal(msg.Data(), &alert))
	if alert.Silenced { // it comes again when the silence ends, if it fires still
		return
	}
	h := msg.Headers()
	fmt.Printf("%s %s %s %s %q\n", h.Get("ce-time"), alert.Status, h.Get("ce-subject"), alert.Labels, alert.Annotations.Summary)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
