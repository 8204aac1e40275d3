package natsbus

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// staleTime is longer than a stream leader that has lost its followers goes on
// answering (10 s, a constant of the server). What contradicts this process for
// longer is damage.
const staleTime = 15 * time.Second

// unheardTime is how long nobody takes an append before another server of the
// cluster is tried. It is longer than most elections.
const unheardTime = 5 * time.Second

// Error codes of the server that the client library has no names for.
const (
	codeStoreFailed = 10077 // the stream is full, among others
	codeNoResources = 10023
)

// doubt is what is known about an append that does not settle.
type doubt struct {
	prev  uint64
	tries int
	since time.Time       // zero: no contradiction yet
	tried map[string]bool // stream leaders that were left

	unheard time.Time // since when nobody has answered, zero: somebody has
}

// append tries one fenced append once and says what came of it. Landed and
// Found come only from what the server cannot take back; everything else is
// Unclear, and the same append is tried again (rules L3, L4):
//
//   - An acknowledgement is Landed, also at a place that the machine refuses.
//   - A lost answer, no leader, a full or absent stream, a refusal for any other
//     reason: Unclear. An earlier try of the same append may still land.
//   - The stream is past Prev (10071 with a number, 10164 without): the message
//     behind Prev settles it. It is read only now, so it has been stored: on one
//     server the refusal comes behind the synced write of what it is refused
//     for, on a replicated one nobody shows what the raft log has not committed.
//     A stale reader does not have it yet, which is Unclear, never Found.
//   - The stream says that it has forgotten the message behind Prev: Found
//     without a body. That is believed of one answer that shows it all, not of a
//     read that finds nothing.
//
// An error comes with Unclear, and with a Found that the machine steps down for
// because the log is damaged.
func (l *decisionLog) append(ctx context.Context, a coordinator.Append) (coordinator.Event, error) {
	if l.doubt.prev != a.Prev {
		l.doubt = doubt{prev: a.Prev}
	}
	ctx, cancel := context.WithTimeout(ctx, min(firstAppendTimeout<<min(l.doubt.tries, 8), appendTimeout))
	defer cancel()
	l.doubt.tries++
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: l.subject, Data: a.Body},
		jetstream.WithExpectStream(l.name),
		jetstream.WithExpectLastSequence(a.Prev),
		jetstream.WithRetryAttempts(0))
	if err == nil {
		l.saw(position{0, ack.Sequence, sha256.Sum256(a.Body)})
		return coordinator.Landed{Seq: ack.Sequence}, nil
	}
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		l.doubt.unheard = time.Time{}
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return l.settle(ctx, a, api)
		case codeStoreFailed, codeNoResources:
			return coordinator.Unclear{}, fmt.Errorf("stream %s takes no more, raise its max_bytes or the storage of the servers: %w", l.name, err)
		case jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return coordinator.Unclear{}, fmt.Errorf("stream %s refuses %d bytes, remove its max_msg_size: %w", l.name, len(a.Body), err)
		}
	case errors.Is(err, nats.ErrMaxPayload):
		return coordinator.Unclear{}, fmt.Errorf("server %s refuses %d bytes, raise its max_payload: %w", l.nc.ConnectedServerName(), len(a.Body), err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		l.unheard()
		return l.absent(ctx, a, err)
	default:
		l.unheard()
	}
	return coordinator.Unclear{}, err
}

// unheard takes note that nobody has answered. The server that this process is
// connected to may be cut off from the others, and never tells: after a while
// the connection goes to another.
func (l *decisionLog) unheard() {
	switch {
	case l.doubt.unheard.IsZero():
		l.doubt.unheard = time.Now()
	case time.Since(l.doubt.unheard) > unheardTime && len(l.nc.Servers()) > 1:
		l.doubt.unheard = time.Now()
		mute := l.nc.ConnectedServerName()
		if err := l.nc.ForceReconnect(); err == nil {
			l.logger().Warn("nobody takes appends here, trying another server", "server", mute)
		}
	}
}

// settle looks at what is behind a.Prev after the stream has refused a.
func (l *decisionLog) settle(ctx context.Context, a coordinator.Append, refusal *jetstream.APIError) (coordinator.Event, error) {
	msg, err := l.stream.GetMsg(ctx, a.Prev+1)
	if err == nil {
		return coordinator.Found{Body: msg.Data, At: msg.Time}, nil
	}
	unclear := fmt.Errorf("%w, and what is there cannot be read: %w", refusal, err)
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return coordinator.Unclear{}, unclear
	}
	info, err := l.info(ctx)
	if err != nil {
		return coordinator.Unclear{}, errors.Join(unclear, err)
	}
	switch {
	case info.State.FirstSeq > a.Prev+1:
		// Trimmed: a later leader has been here. The first sequence only grows.
		return coordinator.Found{}, nil
	case info.State.LastSeq > a.Prev:
		return l.contradicted(ctx, a, fmt.Errorf("the stream goes to %d, and %w: %w", info.State.LastSeq, unclear, coordinator.ErrGap))
	case info.State.LastSeq < a.Prev:
		return l.contradicted(ctx, a, fmt.Errorf("the stream ends at %d, and %d was acknowledged: %w", info.State.LastSeq, a.Prev, coordinator.ErrTruncated))
	}
	// A rival's append is proposed and not committed yet, or the reads were stale.
	l.doubt.since = time.Time{}
	return coordinator.Unclear{}, unclear
}

// absent asks whether the stream is gone for good when nobody has taken the
// append.
func (l *decisionLog) absent(ctx context.Context, a coordinator.Append, cause error) (coordinator.Event, error) {
	if _, err := l.find(ctx, l.name); errors.Is(err, jetstream.ErrStreamNotFound) {
		return l.contradicted(ctx, a, fmt.Errorf("the stream is gone: %w", coordinator.ErrTruncated))
	}
	return coordinator.Unclear{}, cause // it has no leader now
}

// contradicted handles an answer that denies what is known to be in the log. A
// single server that says so has lost it. A replica may be deposed and not know
// it: others are given the lead, for as long as one could be.
func (l *decisionLog) contradicted(ctx context.Context, a coordinator.Append, cause error) (coordinator.Event, error) {
	replicas := l.stream.CachedInfo().Config.Replicas
	if l.doubt.since.IsZero() {
		l.doubt.since, l.doubt.tried = time.Now(), map[string]bool{}
	}
	if replicas < 2 || time.Since(l.doubt.since) > staleTime {
		return coordinator.Found{}, l.damaged(ctx, a.Prev+1, cause)
	}
	if _, err := l.leave(ctx, l.doubt.tried); err != nil {
		cause = errors.Join(cause, err)
	}
	return coordinator.Unclear{}, cause
}
