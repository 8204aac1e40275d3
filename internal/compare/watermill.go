package compare

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	waternats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	watersql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
)

// waterTopic is where the forwarder looks.
const waterTopic = "forwarder_topic"

// water is Watermill as its documentation shows it: a SQL publisher in the caller's
// transaction behind the forwarder's, with the default schema, and a forwarder to
// JetStream. Its SQLite adapter is another module.
type water struct {
	r       *Rig
	schema  watersql.SchemaAdapter
	offsets watersql.OffsetsAdapter
	table   string
	acked   string // table of what the forwarder has done
}

func newWater(ctx context.Context, r *Rig) (*water, error) {
	w := &water{
		r: r, schema: watersql.DefaultMySQLSchema{}, offsets: watersql.DefaultMySQLOffsetsAdapter{},
		table: "`watermill_" + waterTopic + "`", acked: "`watermill_offsets_" + waterTopic + "`",
	}
	if r.Family == "postgres" {
		w.schema, w.offsets = watersql.DefaultPostgreSQLSchema{}, watersql.DefaultPostgreSQLOffsetsAdapter{}
		w.table, w.acked = `"watermill_`+waterTopic+`"`, `"watermill_offsets_`+waterTopic+`"`
	}
	sub, err := w.subscriber()
	if err != nil {
		return nil, err
	}
	if err := sub.SubscribeInitialize(waterTopic); err != nil {
		return nil, fmt.Errorf("make tables of Watermill: %w", err)
	}
	return w, ctx.Err()
}

func (w *water) subscriber() (*watersql.Subscriber, error) {
	s, err := watersql.NewSubscriber(watersql.BeginnerFromStdSQL(w.r.Base), watersql.SubscriberConfig{SchemaAdapter: w.schema, OffsetsAdapter: w.offsets}, watermill.NopLogger{})
	if err != nil {
		return nil, fmt.Errorf("make subscriber of Watermill: %w", err)
	}
	return s, nil
}

func (w *water) publish(_ context.Context, tx *sql.Tx, seq int) error {
	p, err := watersql.NewPublisher(watersql.TxFromStdSQL(tx), watersql.PublisherConfig{SchemaAdapter: w.schema}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	out := forwarder.NewPublisher(p, forwarder.PublisherConfig{ForwarderTopic: waterTopic})
	return out.Publish(waterSubject, message.NewMessage(watermill.NewUUID(), body(seq)))
}

// forward runs a forwarder until done says so.
func (w *water) forward(ctx context.Context, done func(ctx context.Context) error) error {
	sub, err := w.subscriber()
	if err != nil {
		return err
	}
	pub, err := waternats.NewPublisherWithNatsConn(w.r.Conn, waternats.PublisherPublishConfig{
		Marshaler: &waternats.NATSMarshaler{}, SubjectCalculator: waternats.DefaultSubjectCalculator,
		JetStream: waternats.JetStreamConfig{TrackMsgId: true},
	}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	fwd, err := forwarder.NewForwarder(sub, pub, watermill.NopLogger{}, forwarder.Config{ForwarderTopic: waterTopic})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- fwd.Run(ctx) }()
	err = done(ctx)
	if cerr := fwd.Close(); err == nil {
		err = cerr
	}
	if rerr := <-ended; err == nil {
		err = rerr
	}
	return err
}
