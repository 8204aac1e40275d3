package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

const (
	// readAhead is how many messages are asked for at a time. It stays far below
	// what a server queues, and bounds the memory: a message has at most 1 MiB.
	readAhead = 64
	// readTimeout is how long a read waits for the next message.
	readTimeout = 5 * time.Second
	// readRounds bounds how often a log is read from its start because it was
	// trimmed meanwhile.
	readRounds = 10
)

// errTrimmed says that the log now begins behind what was to be read next.
var errTrimmed = fmt.Errorf("natsbus: decision log was trimmed while it was read: %w", coordinator.ErrGap)

// open gives a machine of fresh that has loaded the whole log. A damaged log is
// read from another replica where there is one; an error that wraps a
// DamageError says that none is whole.
//
// What is read may be stale, for no read of JetStream is linearizable. That does
// no harm: the fence of the Epoch record finds out (rule L2), and what the
// machine has then is a beginning of the truth.
func (l *decisionLog) open(ctx context.Context, fresh func() (*coordinator.Machine, error)) (*coordinator.Machine, error) {
	tried := map[string]bool{}
	for round := 1; ; round++ {
		m, err := fresh()
		if err != nil {
			return nil, err
		}
		err = l.load(ctx, m)
		switch {
		case err == nil:
			if len(tried) > 0 {
				l.logger().Error("decision log was read from another replica: repair the damaged one", "server", l.node(ctx))
			}
			return m, nil
		case errors.Is(err, errTrimmed) && round < readRounds:
			continue
		}
		var damage *DamageError
		if !errors.As(err, &damage) || damage.Stream != l.name {
			return nil, err
		}
		l.logger().Error("decision log is damaged", "server", damage.Node, "seq", damage.Seq, "err", err)
		moved, lerr := l.leave(ctx, tried)
		if !moved {
			return nil, errors.Join(err, lerr)
		}
		round = 0
	}
}

// load feeds the log to m, from where m is, and makes sure that nothing is
// missing that the anchor or this process knows of.
func (l *decisionLog) load(ctx context.Context, m *coordinator.Machine) error {
	want, err := l.anchor(ctx)
	if err != nil {
		return err
	}
	if want.seq < l.known.seq {
		want = l.known
	}
	if at, _ := m.Position(); at == 0 && want.seq > 0 {
		m.Expect(want.seq, want.hash)
	}
	if err := l.readOn(ctx, m); err != nil {
		return err
	}
	at, _ := m.Position()
	if err := m.Complete(); err != nil { // too short, or its beginning is gone (rules L2, G3)
		return l.damaged(ctx, at, err)
	}
	if want.seq == 0 {
		if at > 0 {
			name, _ := l.anchorNames()
			l.logger().Warn("decision log has no anchor, a lost end would not be seen", "anchor", name)
		}
		return nil
	}
	if at < want.seq {
		return l.damaged(ctx, at+1, fmt.Errorf("it ends at %d and went to %d: %w", at, want.seq, coordinator.ErrTruncated))
	}
	if want.log != 0 && want.log != m.Log() {
		return l.damaged(ctx, at, fmt.Errorf("it is log %016x and was log %016x: %w", m.Log(), want.log, coordinator.ErrCorrupt))
	}
	return nil
}

// readOn feeds m what the log holds behind its position. An error that wraps
// coordinator.ErrGap and no DamageError says that the log was trimmed: load it
// with a new machine.
func (l *decisionLog) readOn(ctx context.Context, m *coordinator.Machine) error {
	info, err := l.info(ctx)
	if err != nil {
		return fmt.Errorf("read decision log: %w", err)
	}
	from, _ := m.Position()
	from++
	st := info.State
	if st.Lost != nil && len(st.Lost.Msgs) > 0 {
		// The server knows that it has lost messages. At the end of the log nothing
		// else would tell.
		return l.damaged(ctx, st.Lost.Msgs[0], fmt.Errorf("the server says that it has lost %d messages: %w", len(st.Lost.Msgs), coordinator.ErrGap))
	}
	if st.FirstSeq > from {
		if from > 1 {
			return fmt.Errorf("read decision log at %d: %w", from, errTrimmed)
		}
		from = st.FirstSeq
	}
	err = l.read(ctx, from, st.LastSeq, m.Load)
	if seq, hash := m.Position(); seq > 0 {
		l.saw(position{m.Log(), seq, hash})
	}
	return err
}

// stored is a message as the JetStream API gives it.
type stored struct {
	Error   *jetstream.APIError `json:"error"`
	Message struct {
		Seq  uint64    `json:"seq"`
		Time time.Time `json:"time"`
		Data []byte    `json:"data"`
	} `json:"message"`
}

// read gives the messages from to to, in order, to take. They come from the
// leader of the stream, never from a replica that the server chooses: so the
// server to blame for a damaged one is known.
func (l *decisionLog) read(ctx context.Context, from, to uint64, take func(uint64, time.Time, []byte) error) error {
	if from > to {
		return nil
	}
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox + ".*")
	if err != nil {
		return fmt.Errorf("read decision log: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("read decision log: %w", err)
	}
	got := make(map[uint64]stored, readAhead)
	asked := from
	for next := from; next <= to; {
		for ; asked <= to && asked < next+readAhead; asked++ {
			if err := l.ask(inbox, asked); err != nil {
				return fmt.Errorf("read decision log at %d: %w", asked, err)
			}
		}
		seq, msg, err := l.answer(ctx, sub, inbox)
		if err != nil {
			return fmt.Errorf("read decision log at %d: %w", next, err)
		}
		if seq >= next { // two servers that both think they lead both answer
			got[seq] = msg
		}
		for msg, ok := got[next]; ok; msg, ok = got[next] {
			delete(got, next)
			if err := l.take(ctx, next, msg, take); err != nil {
				return err
			}
			next++
		}
	}
	return nil
}

func (l *decisionLog) ask(inbox string, seq uint64) error {
	n := strconv.FormatUint(seq, 10)
	return l.nc.PublishRequest("$JS.API.STREAM.MSG.GET."+l.name, inbox+"."+n, []byte(`{"no_hdr":true,"seq":`+n+`}`))
}

func (l *decisionLog) answer(ctx context.Context, sub *nats.Subscription, inbox string) (seq uint64, s stored, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return 0, s, err
	}
	if seq, err = strconv.ParseUint(strings.TrimPrefix(m.Subject, inbox+"."), 10, 64); err == nil {
		err = json.Unmarshal(m.Data, &s)
	}
	return seq, s, err
}

func (l *decisionLog) take(ctx context.Context, seq uint64, msg stored, take func(uint64, time.Time, []byte) error) error {
	switch {
	case msg.Error != nil && msg.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		if info, err := l.info(ctx); err == nil && info.State.FirstSeq > seq {
			return fmt.Errorf("read decision log at %d: %w", seq, errTrimmed)
		}
		return l.damaged(ctx, seq, fmt.Errorf("the server cannot read it: %w", coordinator.ErrGap))
	case msg.Error != nil:
		return fmt.Errorf("read decision log at %d: %w", seq, msg.Error)
	case msg.Message.Seq != seq:
		return l.damaged(ctx, seq, fmt.Errorf("the server gave message %d: %w", msg.Message.Seq, coordinator.ErrCorrupt))
	}
	return l.damaged(ctx, seq, take(seq, msg.Message.Time, msg.Message.Data))
}
