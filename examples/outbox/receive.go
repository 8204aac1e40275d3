package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"
)

// receive prints n messages of a plain JetStream consumer.
func receive(ctx context.Context, js jetstream.JetStream, n int, out io.Writer) error {
	c, err := js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "warehouse", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		return err
	}
	for range n {
		msg, err := c.Next()
		if err != nil {
			return err
		}
		var o order
		if err := json.Unmarshal(msg.Data(), &o); err != nil {
			return err
		}
		fmt.Fprintf(out, "the warehouse packs %s for %s\n", o.Book, msg.Headers().Get("Gtx-Key"))
		if err := msg.DoubleAck(ctx); err != nil {
			return err
		}
	}
	return nil
}
