package natsbus

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
)

// maxVotes bounds the questions that one Serve looks into at a time; further ones are
// told to come later.
const maxVotes = 16

// votePrefix begins the subjects of votes, one for each question. An inbox would do,
// but then whoever votes would need the right to publish to inboxes, and could answer
// for the coordinator. No token of a resource has a dot.
const votePrefix = canPrefix + "_."

// CanCommit implements gtx.PreCommitter: it asks one of the processes that serve r,
// without the coordinator. The error says why r could not take part; it wraps
// gtx.ErrUnavailable where asking later may help, as when nobody serves r.
func (b *Bus) CanCommit(ctx context.Context, r gtx.ResourceID) error {
	if b.ctx.Err() != nil {
		return fmt.Errorf("ask resource %s for its vote: %w", r, ErrClosed)
	}
	subject, err := subjectOf(canPrefix, r)
	if err == nil {
		err = b.question(ctx, subject)
	}
	if err != nil {
		return fmt.Errorf("ask resource %s for its vote: %w", r, err)
	}
	return nil
}

func (b *Bus) question(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	stop := context.AfterFunc(b.ctx, cancel)
	defer stop()
	reply := votePrefix + crand.Text()
	sub, err := b.nc.SubscribeSync(reply)
	if err != nil {
		return fmt.Errorf("%w: %w", gtx.ErrUnavailable, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	var m *nats.Msg
	if err = b.nc.PublishRequest(subject, reply, []byte{wireVersion, kindQuestion}); err == nil {
		m, err = sub.NextMsgWithContext(ctx)
	}
	switch {
	case b.ctx.Err() != nil:
		return ErrClosed
	case err != nil && !errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: %w", gtx.ErrUnavailable, err)
	case err != nil, len(m.Data) == 0 && m.Header.Get("Status") == "503":
		return fmt.Errorf("no running process serves it and can prepare: %w: %w", gtx.ErrUnavailable, nats.ErrNoResponders)
	}
	return readVote(m.Data)
}

// appendVote writes an answer to a question.
func appendVote(err error) []byte {
	if err == nil {
		return []byte{wireVersion, kindVote, byte(codeOK)}
	}
	text := err.Error()
	return append([]byte{wireVersion, kindVote, byte(codeOf(err))}, text[:min(len(text), maxText)]...)
}

// readVote reads what appendVote wrote.
func readVote(data []byte) error {
	kind, body, err := header(data)
	switch {
	case err != nil:
		return err
	case kind != kindVote || len(body) == 0 || code(body[0]) == codeOK && len(body) > 1:
		return fmt.Errorf("%w: kind %d is not a vote", errWire, kind)
	case code(body[0]) == codeOK:
		return nil
	}
	e := &remoteError{text: string(body[1:])}
	if err := errorOf(code(body[0]), ""); errors.Is(err, gtx.ErrUnavailable) {
		e.is = []error{gtx.ErrUnavailable}
	}
	return e
}

// serveVotes answers questions if the Resolver can.
func (s *subscription) serveVotes() error {
	v, ok := s.res.(gtx.Voter)
	if !ok {
		return nil
	}
	s.voting, s.leave = context.WithCancel(s.bus.ctx)
	subject, err := subjectOf(canPrefix, s.id)
	if err == nil {
		s.can, err = s.bus.nc.QueueSubscribe(subject, rmQueue, func(m *nats.Msg) { s.asked(m, v) })
	}
	if err != nil {
		s.leave()
		return fmt.Errorf("serve votes of resource %s: %w: %w", s.id, gtx.ErrUnavailable, err)
	}
	return nil
}

// asked votes beside the subscription: it takes the time of a database.
func (s *subscription) asked(m *nats.Msg, v gtx.Voter) {
	if !strings.HasPrefix(m.Reply, votePrefix) {
		s.bus.complain.warn("drop a question with a foreign reply subject", "subject", m.Subject)
		return
	}
	kind, _, err := header(m.Data)
	if err == nil && kind != kindQuestion {
		err = fmt.Errorf("%w: kind %d is not a question", errWire, kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
	case s.ended:
		err = fmt.Errorf("the process is leaving: %w", gtx.ErrUnavailable)
	case s.votes >= maxVotes:
		err = fmt.Errorf("too many others ask: %w", gtx.ErrUnavailable)
	default:
		s.votes++
		s.wg.Go(func() { s.vote(m.Reply, v) })
		return
	}
	_ = s.bus.nc.Publish(m.Reply, appendVote(err))
}

func (s *subscription) vote(reply string, v gtx.Voter) {
	ctx, cancel := context.WithTimeout(s.voting, s.bus.cfg.ResolveTimeout)
	defer cancel()
	err := v.CanCommit(ctx)
	if err != nil && s.voting.Err() != nil {
		err = fmt.Errorf("the process is leaving: %w", gtx.ErrUnavailable)
	}
	_ = s.bus.nc.Publish(reply, appendVote(err)) // a lost one is a no
	s.mu.Lock()
	s.votes--
	s.mu.Unlock()
}
