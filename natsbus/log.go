package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// minServer is the oldest NATS server whose replicated streams check an append
// against everything a former stream leader acknowledged, and that syncs a
// batch once (rule A1).
const minServer = "2.15.2"

// appendTimeout is how long one append waits for its acknowledgement before it
// is repeated.
const appendTimeout = 5 * time.Second

// decisionLog is the stream that holds the decisions.
type decisionLog struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// openLog finds or creates the stream and refuses one whose settings could lose
// or hide a decision.
func openLog(ctx context.Context, nc *nats.Conn, cfg *ServiceConfig) (*decisionLog, error) {
	if v := nc.ConnectedServerVersion(); !atLeast(v, minServer) {
		return nil, fmt.Errorf("open decision log: NATS server %s is older than %s", v, minServer)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(appendTimeout))
	if err != nil {
		return nil, fmt.Errorf("open decision log: %w", err)
	}
	s, err := js.Stream(ctx, streamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name:        streamName,
			Description: "decision log of globaltx",
			Subjects:    []string{logSubject},
			Storage:     jetstream.FileStorage,
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    cfg.MaxBytes,
			Replicas:    cfg.Replicas,
			Duplicates:  100 * time.Millisecond,
			DenyDelete:  true,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("open decision log: %w", err)
	}
	c := s.CachedInfo().Config
	for what, bad := range map[string]bool{
		"subjects must be " + logSubject:  len(c.Subjects) != 1 || c.Subjects[0] != logSubject,
		"storage must be file":            c.Storage != jetstream.FileStorage,
		"retention must be limits":        c.Retention != jetstream.LimitsPolicy,
		"discard must be new":             c.Discard != jetstream.DiscardNew,
		"max_age must be 0":               c.MaxAge != 0,
		"max_msgs must be unlimited":      c.MaxMsgs > 0,
		"max_msgs_per_subject must be 0":  c.MaxMsgsPerSubject > 0,
		"deny_delete must be set":         !c.DenyDelete,
		"allow_direct must be off":        c.AllowDirect,
		"allow_rollup_hdrs must be off":   c.AllowRollup,
		"allow_msg_ttl must be off":       c.AllowMsgTTL,
		"persist_mode must be default":    c.PersistMode != jetstream.DefaultPersistMode,
		"it must not be a mirror":         c.Mirror != nil || len(c.Sources) > 0,
		"it must not be sealed":           c.Sealed,
		"max_msg_size must be unlimited":  c.MaxMsgSize > 0 && c.MaxMsgSize < coordinator.MaxMessage,
		"num_replicas is less than asked": c.Replicas < cfg.Replicas,
	} {
		if bad {
			return nil, fmt.Errorf("open decision log: stream %s is not fit for decisions: %s", streamName, what)
		}
	}
	return &decisionLog{js, s}, nil
}

// atLeast compares the first three numbers of two versions.
func atLeast(v, want string) bool {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	a, b := strings.Split(v, "."), strings.Split(want, ".")
	for i := range b {
		var x, y int
		if i < len(a) {
			x, _ = strconv.Atoi(a[i])
		}
		y, _ = strconv.Atoi(b[i])
		if x != y {
			return x > y
		}
	}
	return true
}

// load feeds the whole log to m. A read may be stale: the fence of the Epoch
// append finds out (rule L2).
func (l *decisionLog) load(ctx context.Context, m *coordinator.Machine) error {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read decision log: %w", err)
	}
	if info.State.LastSeq == 0 {
		return nil
	}
	cons, err := l.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("read decision log: %w", err)
	}
	defer func() { _ = l.stream.DeleteConsumer(context.WithoutCancel(ctx), cons.CachedInfo().Name) }()
	next := uint64(1)
	for next <= info.State.LastSeq {
		batch, err := cons.Fetch(int(min(256, info.State.LastSeq-next+1)), jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			return fmt.Errorf("read decision log at %d: %w", next, err)
		}
		before := next
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read decision log at %d: %w", next, err)
			}
			// One by one where the consumer skipped: only a read that misses the
			// sequence itself says that it is gone.
			for ; next < meta.Sequence.Stream; next++ {
				if err := l.loadOne(ctx, m, next); err != nil {
					return err
				}
			}
			if meta.Sequence.Stream < next {
				continue
			}
			if err := m.Load(next, meta.Timestamp, msg.Data()); err != nil {
				return err
			}
			next++
		}
		if next == before {
			if err := l.loadOne(ctx, m, next); err != nil {
				return err
			}
			next++
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read decision log at %d: %w", next, err)
		}
	}
	return nil
}

func (l *decisionLog) loadOne(ctx context.Context, m *coordinator.Machine, seq uint64) error {
	msg, err := l.stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("read decision log at %d: %w", seq, coordinator.ErrGap)
	}
	if err != nil {
		return fmt.Errorf("read decision log at %d: %w", seq, err)
	}
	return m.Load(seq, msg.Time, msg.Data)
}

// append tries one fenced append once and says what came of it: Landed, Found,
// or Unclear for everything that does not settle it (rules L3, L4).
func (l *decisionLog) append(ctx context.Context, a coordinator.Append) (coordinator.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: logSubject, Data: a.Body},
		jetstream.WithExpectStream(streamName),
		jetstream.WithExpectLastSequence(a.Prev),
		jetstream.WithRetryAttempts(0))
	if err == nil {
		return coordinator.Landed{Seq: ack.Sequence}, nil
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence &&
		api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequenceConstant {
		return coordinator.Unclear{}, err
	}
	msg, rerr := l.stream.GetMsg(ctx, a.Prev+1)
	if rerr == nil {
		return coordinator.Found{Body: msg.Data, At: msg.Time}, nil
	}
	if errors.Is(rerr, jetstream.ErrMsgNotFound) {
		// Gone, or only proposed, or the read was stale: the state of the stream
		// tells. Stale again costs one more round.
		if info, ierr := l.stream.Info(ctx); ierr == nil && info.State.LastSeq > a.Prev {
			if _, rerr = l.stream.GetMsg(ctx, a.Prev+1); errors.Is(rerr, jetstream.ErrMsgNotFound) {
				return coordinator.Found{}, nil
			}
		}
	}
	return coordinator.Unclear{}, err
}
