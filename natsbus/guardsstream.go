package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
)

const (
	guardStream = "GTX_GUARD"
	guardPrefix = "gtx.guard."
	// guardMark is a subject that no guard has, for what guardLog.mark writes.
	guardMark = guardPrefix + "mark"
	// guardHeader holds the nonce of the call that wrote a message.
	guardHeader = "Gtx-Call"

	defaultGuardBytes = 1 << 30
	// guardLook is how old what is known of the stream's settings and size may be.
	guardLook = time.Second
	// A page of a list ends behind so many bytes, or guards.
	guardPageBytes, guardPage = 400 << 10, 512
)

// guardLog is the stream that holds the guards, one message for each subject. It belongs
// to a guardDesk, whose mutex protects the fields.
type guardLog struct {
	log    *decisionLog // for its connection, configuration and questions
	stream jetstream.Stream
	known  guardAnchor // of the stream as this process has seen it
	looked time.Time   // when it was last looked at
	bytes  uint64      // in it, and asked to be put into it since
}

// look makes sure of the stream: that it is there, fit, and the one that held the guards.
// Like the decision log it is refused otherwise, for a guard that is lost is an action that
// is never confirmed.
func (g *guardLog) look(ctx context.Context) error {
	if g.stream != nil && time.Since(g.looked) < guardLook {
		return nil
	}
	err := g.open(ctx)
	for try := 0; overtaken(err) && try < 5; try++ {
		err = g.open(ctx)
	}
	if err != nil {
		return fmt.Errorf("open stream of guards: %w", err)
	}
	return nil
}

// open reads the anchor first: what comes later into the stream makes it longer only.
func (g *guardLog) open(ctx context.Context) error {
	a, rev, missing, err := g.readAnchor(ctx)
	if err != nil {
		return err
	}
	s, err := g.log.find(ctx, guardStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if a.id != 0 || g.known.id != 0 {
			return g.lost("it is gone")
		}
		s, err = g.create(ctx)
	}
	if err != nil {
		return err
	}
	info := s.CachedInfo()
	if err := g.fit(ctx, info); err != nil {
		return err
	}
	if a.id == 0 {
		if a, rev, err = g.adopt(ctx, s, missing); err != nil {
			return err
		}
		if s, err = g.log.find(ctx, guardStream); err != nil {
			return err
		}
	}
	if err := g.verify(ctx, s, a); err != nil {
		return err
	}
	a.seq = max(a.seq, g.known.seq)
	g.stream, g.known, g.looked, g.bytes = s, a, time.Now(), info.State.Bytes
	if last := g.pin(ctx); last > a.seq {
		g.known.seq = last
		_, _ = g.saveAnchor(ctx, g.known, rev) // the older one is true, too
	}
	return nil
}

// fit refuses settings and servers that could lose a guard.
func (g *guardLog) fit(ctx context.Context, info *jetstream.StreamInfo) error {
	cfg := g.log.cfg
	if bad := unfitForGuards(&info.Config, cfg.Replicas); len(bad) > 0 {
		return fmt.Errorf("stream %s is not fit for guards: %s (see `nats stream edit %s`)", guardStream, strings.Join(bad, ", "), guardStream)
	}
	if g.known.id != 0 {
		return nil
	}
	peers, err := g.log.peers(info)
	if err == nil {
		err = checkSynced(ctx, g.log.nc, cfg, peers)
	}
	return err
}

// pin keeps the block that the server writes to from becoming empty: an emptied one stays as
// a file of its own until the server cleans up, minutes later, and where one guard at a time
// comes and goes that would be a file for each. It gives the end of the stream, 0 when it
// fails, which does no harm.
func (g *guardLog) pin(ctx context.Context) uint64 {
	ack, err := g.log.js.Publish(ctx, guardMark, nil, jetstream.WithExpectStream(guardStream), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0
	}
	return ack.Sequence
}

func (g *guardLog) create(ctx context.Context) (jetstream.Stream, error) {
	return g.log.make(ctx, jetstream.StreamConfig{
		Name:              guardStream,
		Description:       "guards of actions without a database, of globaltx",
		Subjects:          []string{guardPrefix + ">"},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		MaxBytes:          defaultGuardBytes,
		Replicas:          g.log.cfg.Replicas,
		Duplicates:        100 * time.Millisecond,
		DenyDelete:        true,
	})
}

// unfitForGuards lists what must change before c can hold guards.
func unfitForGuards(c *jetstream.StreamConfig, replicas int) (bad []string) {
	each := *c
	each.MaxMsgsPerSubject = 0 // the one setting that differs
	bad = unfit(&each, guardPrefix+">", replicas)
	if c.MaxMsgsPerSubject != 1 || c.DiscardNewPerSubject {
		bad = append(bad, "max_msgs_per_subject must be 1, and the new one discards the old")
	}
	return bad
}

// room takes note of a guard to be created, and refuses it where the stream is three
// quarters full: the rest is for changes, without which no guard would ever go.
func (g *guardLog) room(size int) error {
	limit := g.stream.CachedInfo().Config.MaxBytes
	if limit > 0 && g.bytes+uint64(size) > uint64(limit)/4*3 {
		return fmt.Errorf("stream %s is three quarters full: raise its max_bytes, or see which actions are stuck", guardStream)
	}
	g.bytes += uint64(size)
	return nil
}

// guardWork is one call about guards, on a stream that is fit.
type guardWork struct {
	log    *decisionLog
	stream jetstream.Stream
	q      *guardRequest
	key    string // the subject of the guard
}

func failed(c guardCode, format string, args ...any) guardAnswer {
	return guardAnswer{Code: c, Text: fmt.Sprintf(format, args...)}
}

// put writes the guard where q.Number is the last revision, 0 for none.
func (w *guardWork) put(ctx context.Context) guardAnswer {
	msg := &nats.Msg{Subject: w.key, Data: w.q.Guard.Body, Header: nats.Header{guardHeader: {w.nonce()}}}
	ack, err := w.log.js.PublishMsg(ctx, msg,
		jetstream.WithExpectStream(guardStream),
		jetstream.WithExpectLastSequencePerSubject(w.q.Number),
		jetstream.WithRetryAttempts(0))
	if err == nil {
		return guardAnswer{Number: ack.Sequence}
	}
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return w.settle(ctx, api)
		}
		if strings.Contains(api.Description, "maximum") { // nothing is written then
			return failed(guardRefused, "stream %s takes no more, raise its max_bytes: %v", guardStream, err)
		}
	case errors.Is(err, nats.ErrMaxPayload):
		return failed(guardRefused, "server %s refuses %d bytes, raise its max_payload: %v", w.log.nc.ConnectedServerName(), len(msg.Data), err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return failed(guardAgain, "stream %s has no leader now: %v", guardStream, err)
	}
	return w.find(ctx, err)
}

func (w *guardWork) nonce() string { return strconv.FormatUint(w.q.Nonce, 16) }

// settle says what is there instead of what the call expects. Reads may be stale, so what
// they do not show is no reason to believe anything; this try has changed nothing.
func (w *guardWork) settle(ctx context.Context, refusal error) guardAnswer {
	msg, err := w.stream.GetLastMsgForSubject(ctx, w.key)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return failed(guardGone, "there is none")
	case err != nil:
		return failed(guardAgain, "%v, and what is there cannot be read: %v", refusal, err)
	case msg.Header.Get(guardHeader) == w.nonce():
		return guardAnswer{Number: msg.Sequence} // an earlier try of this call
	case msg.Sequence > w.q.Number:
		return failed(guardChanged, "it has revision %d, not %d", msg.Sequence, w.q.Number)
	}
	return failed(guardAgain, "%v, and somebody is just changing it", refusal)
}

// find looks for the own message, which has got no answer, until ctx ends. It may still
// come later.
func (w *guardWork) find(ctx context.Context, cause error) guardAnswer {
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	for try := 0; ; try++ {
		msg, err := w.stream.GetLastMsgForSubject(ask, w.key)
		if err == nil && msg.Header.Get(guardHeader) == w.nonce() {
			return guardAnswer{Number: msg.Sequence}
		}
		if ctx.Err() != nil || !pause(ctx, pauseMin, pauseMax, try) {
			return failed(guardUnclear, "%v", cause)
		}
	}
}

// remove purges the one revision: a newer one stays. That is one request which the
// stream's leader puts into its order, so the answer is not stale, and tells whether this was
// the one that did it; deleting by sequence does not.
func (w *guardWork) remove(ctx context.Context) guardAnswer {
	body := mustJSON(map[string]any{"filter": w.key, "seq": w.q.Number + 1})
	m, err := w.log.nc.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+guardStream, body)
	if err != nil {
		return failed(guardUnclear, "%v", err)
	}
	var a struct {
		Error  *jetstream.APIError `json:"error"`
		Purged uint64              `json:"purged"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return failed(guardUnclear, "%v", err)
	}
	switch {
	case a.Error != nil:
		return failed(guardUnclear, "%v", a.Error)
	case a.Purged > 0:
		return guardAnswer{}
	}
	return w.settle(ctx, errors.New("nothing of this revision was there"))
}

// list gives one page.
func (w *guardWork) list(ctx context.Context) guardAnswer {
	filter, err := guardFilter(w.q.Guard.Resource, w.q.Guard.XID)
	if err != nil {
		return failed(guardRefused, "%v", err)
	}
	if w.q.Guard.XID.IsZero() {
		return w.listAll(ctx, filter)
	}
	return w.listOne(ctx, filter)
}

// listAll goes through the stream in the order of the revisions. What is changed meanwhile
// moves to the end, and is not missed.
func (w *guardWork) listAll(ctx context.Context, filter string) (a guardAnswer) {
	size, next := 0, max(w.q.Number, 1)
	for {
		msg, err := w.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return a
		}
		if err == nil {
			err = a.add(msg)
		}
		if err != nil {
			return failed(guardAgain, "read guards: %v", err)
		}
		size, next = size+len(msg.Data), msg.Sequence+1
		if size > guardPageBytes || len(a.Guards) >= guardPage {
			a.Number, a.More = next, true
			return a
		}
	}
}

func (a *guardAnswer) add(msg *jetstream.RawStreamMsg) error {
	g, err := readGuardName(msg.Subject)
	if err == nil {
		g.Revision, g.Body = msg.Sequence, msg.Data
		a.Guards = append(a.Guards, g)
	}
	return err
}

// listOne gives the guards of one transaction, which nobody may miss: who hears that
// there is none tells the coordinator that phase two has ended. A stream leader that is
// deposed and does not know it shows the past, so where there are replicas this writes a
// mark first, and believes only who has it.
func (w *guardWork) listOne(ctx context.Context, filter string) (a guardAnswer) {
	from, err := w.mark(ctx)
	if err != nil {
		return failed(guardAgain, "%v", err)
	}
	info, err := w.stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return failed(guardAgain, "list guards: %v", err)
	}
	if info.State.LastSeq < from {
		return failed(guardAgain, "server %s is behind", w.log.leaderOf(info))
	}
	var branches []gtx.BranchID
	for subject := range info.State.Subjects {
		g, err := readGuardName(subject)
		if err != nil {
			return failed(guardAgain, "list guards: %v", err)
		}
		if uint64(g.Branch) > w.q.Number {
			branches = append(branches, g.Branch)
		}
	}
	slices.Sort(branches)
	size, g := 0, w.q.Guard
	for _, b := range branches {
		if size > guardPageBytes || len(a.Guards) >= guardPage {
			a.More = true
			return a
		}
		g.Branch = b
		key, err := guardName(&g)
		if err != nil {
			return failed(guardRefused, "%v", err)
		}
		msg, err := w.stream.GetLastMsgForSubject(ctx, key)
		if err == nil {
			err = a.add(msg)
		}
		if err != nil { // none: deleted meanwhile, or this was a stale server
			return failed(guardAgain, "read guard %d: %v", b, err)
		}
		size, a.Number = size+len(msg.Data), uint64(b)
	}
	return a
}

// mark gives a sequence that every server has which knows of all that was acknowledged
// before the call, 0 where there is one server.
func (w *guardWork) mark(ctx context.Context) (uint64, error) {
	if w.stream.CachedInfo().Config.Replicas < 2 {
		return 0, nil
	}
	ack, err := w.log.js.Publish(ctx, guardMark, nil, jetstream.WithExpectStream(guardStream), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, fmt.Errorf("mark the end of stream %s: %w", guardStream, err)
	}
	return ack.Sequence, nil
}
