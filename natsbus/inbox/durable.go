package inbox

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Source is where Consume takes messages from. It is copied.
type Source struct {
	// Stream is its name. Required.
	Stream string
	// Durable names the durable consumer, which Consume makes where it is missing. Empty:
	// Config.Name. All processes of a service use one.
	Durable string
	// Subjects filter, with wildcards. Empty: all of the stream.
	Subjects []string

	// Ordered handles messages one after the other, in the order of the stream, over all
	// processes together: the server hands out none before the last is done with. So a
	// message that fails holds up those behind it until it succeeds or is put aside. With
	// Lanes there is one such line for each of them.
	Ordered bool
	// Lanes are filters that do not overlap, each with a durable consumer of its own. The
	// order of messages is kept where all of one key come with subjects of one lane; a
	// partition in the subject does it ("orders.0.>", "orders.1.>"). With Ordered, without
	// Subjects.
	Lanes []string

	// Workers is how many messages this process handles at a time. Zero: 8. Ordered: one
	// in each lane.
	Workers int

	// AckWait is after how long without a word of the handling process the server hands a
	// message to another. It is set when the durable consumer is made. Zero: 30 s. At
	// least 1 s.
	AckWait time.Duration
	// Start is where a durable consumer that is made begins, by the time at which messages
	// were stored. Zero: with the first in the stream. See ErrForgotten.
	Start time.Time
}

// maxUnacked is how many messages may be handled or wait for their next try before the
// others wait, too.
const maxUnacked = 10_000

func (src *Source) fill(cfg *Config) error {
	if src.Durable == "" {
		src.Durable = cfg.Name
	}
	if src.Workers == 0 {
		src.Workers = 8
	}
	if src.AckWait == 0 {
		src.AckWait = 30 * time.Second
	}
	switch {
	case src.Stream == "":
		return errors.New("Source.Stream is empty")
	case !nameOK.MatchString(src.Durable):
		return fmt.Errorf("Source.Durable %q: want 1 to 64 letters, digits, - and _", src.Durable)
	case src.Workers < 0 || src.AckWait < time.Second:
		return fmt.Errorf("Source.Workers %d, AckWait %s: want more", src.Workers, src.AckWait)
	case len(src.Lanes) > 0 && (!src.Ordered || len(src.Subjects) > 0):
		return errors.New("Source.Lanes are for Ordered, and stand in place of Subjects")
	}
	src.Subjects, src.Lanes = slices.Clone(src.Subjects), slices.Clone(src.Lanes)
	for i, a := range src.Lanes {
		for _, b := range src.Lanes[:i] {
			if overlap(a, b) {
				return fmt.Errorf("Source.Lanes %q and %q overlap", a, b)
			}
		}
	}
	return nil
}

// lane is one durable consumer.
type lane struct {
	stream  jetstream.Stream
	cons    jetstream.Consumer
	filters []string
	workers int
	beat    time.Duration
}

// durables finds or makes the durable consumers of src.
func (in *Inbox) durables(ctx context.Context, src *Source) ([]*lane, error) {
	stream, err := in.cfg.JetStream.Stream(ctx, src.Stream)
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w", src.Stream, err)
	}
	if err := in.checkDead(ctx, src); err != nil {
		return nil, err
	}
	want := map[string][]string{src.Durable: src.Subjects}
	if len(src.Lanes) > 0 {
		clear(want)
		for _, f := range src.Lanes {
			want[laneName(src.Durable, f)] = []string{f}
		}
	}
	var lanes []*lane
	for name, filters := range want {
		l := &lane{stream: stream, filters: filters, workers: src.Workers}
		if src.Ordered {
			l.workers = 1
		}
		if l.cons, err = in.durable(ctx, stream, name, filters, src); err != nil {
			return nil, err
		}
		l.beat = l.cons.CachedInfo().Config.AckWait / 3
		lanes = append(lanes, l)
	}
	if err := in.s.take(ctx, in.db, madeID, stateMade, ""); err != nil && !errors.Is(err, errTaken) {
		return nil, err
	}
	return lanes, nil
}

// laneName does not depend on the other lanes.
func laneName(durable, filter string) string {
	h := fnv.New64a()
	h.Write([]byte(filter))
	return fmt.Sprintf("%s-%016x", durable, h.Sum64())
}

func (in *Inbox) durable(ctx context.Context, stream jetstream.Stream, name string, filters []string, src *Source) (jetstream.Consumer, error) {
	cons, err := stream.Consumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if err := in.remembers(ctx, stream, name, src); err != nil {
			return nil, err
		}
		cfg := jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: src.AckWait,
			MaxDeliver: -1, MaxAckPending: maxUnacked, FilterSubjects: filters,
		}
		if in.identity != "" {
			cfg.Metadata = map[string]string{metaDatabase: in.identity}
		}
		if src.Ordered {
			cfg.MaxAckPending = 1
		}
		if !src.Start.IsZero() {
			cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &src.Start
		}
		cons, err = stream.CreateConsumer(ctx, cfg)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another process, with another start
			cons, err = stream.Consumer(ctx, name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make durable consumer %s of %s: %w", name, src.Stream, err)
	}
	if why := unfit(cons.CachedInfo().Config, filters, src.Ordered); why != "" {
		return nil, fmt.Errorf("use durable consumer %s of %s: %s: delete it, or name another", name, src.Stream, why)
	}
	if of := cons.CachedInfo().Config.Metadata[metaDatabase]; of != "" && in.identity != "" && of != in.identity {
		return nil, fmt.Errorf("use durable consumer %s of %s: it is of database %s, and this is %s: two databases must not share a name; if the other one is gone for good delete it",
			name, src.Stream, of, in.identity)
	}
	return cons, nil
}

// metaDatabase names the database whose inbox a durable consumer is for: with another one
// the messages would take effect in either.
const metaDatabase = "gtx-database"

// unfit tells why a durable consumer that exists cannot be used.
func unfit(cfg jetstream.ConsumerConfig, filters []string, ordered bool) string {
	have := cfg.FilterSubjects
	if cfg.FilterSubject != "" {
		have = []string{cfg.FilterSubject}
	}
	switch {
	case cfg.AckPolicy != jetstream.AckExplicitPolicy:
		return "it does not acknowledge each message by itself"
	case cfg.MaxDeliver > 0:
		return "it gives messages up after some deliveries (MaxDeliver)"
	case ordered && cfg.MaxAckPending != 1:
		return "it hands out several messages at a time (MaxAckPending), so it keeps no order"
	case cfg.HeadersOnly:
		return "it delivers no bodies"
	case !slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(filters))):
		return fmt.Sprintf("it filters %q, not %q", have, filters)
	}
	return ""
}

// remembers refuses to begin anew in a stream whose old messages may or may not have been
// handled: their rows are gone.
func (in *Inbox) remembers(ctx context.Context, stream jetstream.Stream, name string, src *Source) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask for stream %s: %w", src.Stream, err)
	}
	oldest := info.State.FirstTime
	if src.Start.After(oldest) {
		oldest = src.Start
	}
	if info.Config.Retention != jetstream.LimitsPolicy || info.State.Msgs == 0 || time.Since(oldest) < in.cfg.Keep {
		return nil
	}
	_, used, err := in.s.state(ctx, madeID)
	if err != nil || !used {
		return err
	}
	return fmt.Errorf("make durable consumer %s of %s: the first message is of %s, Config.Keep is %s: set Source.Start to a time that is not so long ago, or limit the age of the stream: %w",
		name, src.Stream, oldest.UTC().Format(time.RFC3339), in.cfg.Keep, ErrForgotten)
}

// checkDead refuses a dead letter that nobody would keep, or that would come back.
func (in *Inbox) checkDead(ctx context.Context, src *Source) error {
	if in.cfg.DeadSubject == "" {
		return nil
	}
	name, err := in.cfg.JetStream.StreamNameBySubject(ctx, in.cfg.DeadSubject)
	if err != nil {
		return fmt.Errorf("find the stream of Config.DeadSubject %s: %w", in.cfg.DeadSubject, err)
	}
	if name != src.Stream {
		return nil
	}
	filters := append(slices.Clone(src.Subjects), src.Lanes...)
	if len(filters) == 0 {
		filters = []string{">"}
	}
	for _, f := range filters {
		if overlap(f, in.cfg.DeadSubject) {
			return fmt.Errorf("Config.DeadSubject %s: the inbox would consume it itself (%s of stream %s)", in.cfg.DeadSubject, f, name)
		}
	}
	return nil
}

// overlap tells whether a subject exists that both filters take.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; ; i++ {
		switch {
		case i == len(x) || i == len(y):
			return len(x) == len(y)
		case x[i] == ">" || y[i] == ">":
			return true
		case x[i] != y[i] && x[i] != "*" && y[i] != "*":
			return false
		}
	}
}
