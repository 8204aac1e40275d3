package natsbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// What may wait in the connection of a coordinator. Behind the first two bounds
// a request is turned away unread, at once, so that its caller can go elsewhere
// or slow down. The last one, behind which the NATS client drops messages (its
// error handler logs that), is for senders that outrun even the refusals.
const (
	waitingMessages = 1 << 14
	waitingBytes    = 64 << 20
	droppedBytes    = 256 << 20
)

// maxEntries bounds the requests of one batch, four times what a Bus sends.
const maxEntries = 4 * batchEntries

// intake is the door of a leading coordinator: batches of requests come in,
// replies and pushes go out, grouped by who gets them. open and close may be
// called again and again; reply, stats, push and flush belong to one goroutine.
type intake struct {
	nc       *nats.Conn
	subject  string
	complain *complaints
	sub      *nats.Subscription

	replies outboxes[string]         // by inbox
	pushes  outboxes[gtx.ResourceID] // by resource
}

// ask is the Call of a request: who wants the answer.
type ask struct {
	inbox string
	id    uint64 // of the asker; 0: wants none
	op    op
}

// statsEvent asks the loop for intake.stats; the machine does not see it.
type statsEvent struct {
	coordinator.Event
	Call any
}

func newIntake(nc *nats.Conn, partition uint16, log *slog.Logger) *intake {
	return &intake{
		nc: nc, subject: requestSubject(partition), complain: newComplaints(log),
		replies: outboxes[string]{all: map[string]*outbox{}},
		pushes:  outboxes[gtx.ResourceID]{all: map[gtx.ResourceID]*outbox{}},
	}
}

// open lets requests in. deliver takes all of its events or, when it returns
// false, none: their callers then hear that the coordinator is busy. It must not
// keep the slice.
//
// Everybody who thinks to lead hears every request, and a client takes the first
// answer that settles it. One that is deposed and does not know it yet does no
// harm (rule L8), and one that is stopped or cut off swallows no request that
// its successor could answer, as it would from a queue group.
func (in *intake) open(deliver func([]coordinator.Event) bool) error {
	d := door{in: in, deliver: deliver}
	sub, err := in.nc.Subscribe(in.subject, d.take)
	if err != nil {
		return fmt.Errorf("subscribe to requests: %w", err)
	}
	in.sub = sub
	if err = sub.SetPendingLimits(-1, droppedBytes); err == nil {
		err = in.nc.FlushTimeout(appendTimeout)
	}
	if err != nil {
		in.close()
		return fmt.Errorf("subscribe to requests: %w", err)
	}
	return nil
}

// close lets nothing in any more; what waits is dropped, and its callers ask
// again. reply, stats, push and flush still work.
func (in *intake) close() {
	if in.sub != nil {
		_ = in.sub.Unsubscribe()
		in.sub = nil
	}
}

// reply answers a request with the next flush.
func (in *intake) reply(r coordinator.Reply) {
	a, ok := r.Call.(*ask)
	if !ok || a.id == 0 || a.inbox == "" {
		return
	}
	if a.op != opBegin {
		r.XID = gtx.XID{} // known to who asked
	}
	o := in.replyTo(a)
	o.buf = appendReply(o.buf, &r)
	in.bound(o)
}

// stats answers a statsEvent with the next flush.
func (in *intake) stats(call any, st coordinator.Stats) {
	if a, ok := call.(*ask); ok && a.id != 0 && a.inbox != "" {
		o := in.replyTo(a)
		o.buf = appendStats(o.buf, st)
		in.bound(o)
	}
}

func (in *intake) replyTo(a *ask) *outbox {
	o := in.replies.all[a.inbox]
	if o == nil {
		o = in.replies.add(a.inbox, a.inbox)
	}
	in.replies.start(o, kindReplies)
	o.buf = binary.AppendUvarint(o.buf, a.id)
	return o
}

// push tells a decision with the next flush. Lost ones are pushed again, or
// found by a scan.
func (in *intake) push(p coordinator.Push) {
	o := in.pushes.all[p.Resource]
	if o == nil {
		subject, err := subjectOf(evtPrefix, p.Resource)
		if err != nil {
			return // the machine registers no such resource
		}
		o = in.pushes.add(p.Resource, subject)
	}
	in.pushes.start(o, kindPushes)
	o.buf = appendPush(o.buf, &p.Resolution)
	in.bound(o)
}

func (in *intake) bound(o *outbox) {
	if len(o.buf) >= softMessage {
		o.send(in.nc)
	}
}

// flush sends what reply, stats and push have gathered.
func (in *intake) flush() {
	in.replies.flush(in.nc)
	in.pushes.flush(in.nc)
}

// outboxes gathers messages by who gets them.
type outboxes[K comparable] struct {
	all  map[K]*outbox
	full []*outbox // that have something to send
}

// maxOutboxes bounds the idle ones that are kept for their next message.
const maxOutboxes = 1024

func (m *outboxes[K]) add(k K, subject string) *outbox {
	o := &outbox{subject: subject}
	m.all[k] = o
	return o
}

// start makes o ready for an entry.
func (m *outboxes[K]) start(o *outbox, kind byte) {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, wireVersion, kind)
		m.full = append(m.full, o)
	}
}

func (m *outboxes[K]) flush(nc *nats.Conn) {
	for _, o := range m.full {
		o.send(nc)
	}
	clear(m.full)
	m.full = m.full[:0]
	if len(m.all) > maxOutboxes {
		clear(m.all)
	}
}

// outbox gathers the entries of one message.
type outbox struct {
	subject string
	buf     []byte // empty: nothing gathered
}

// send publishes what has gathered. A message that cannot be sent is lost like
// one that was: callers ask again, decisions are pushed again.
func (o *outbox) send(nc *nats.Conn) {
	if len(o.buf) == 0 {
		return
	}
	_ = nc.Publish(o.subject, o.buf)
	if o.buf = o.buf[:0]; cap(o.buf) > 4<<10 {
		o.buf = nil
	}
}

// door reads requests for one term of leadership, on the goroutine of its
// subscription.
type door struct {
	in      *intake
	deliver func([]coordinator.Event) bool
	names   names
	entries []entry             // of one message, reused
	events  []coordinator.Event // of one message, reused
}

// entry is one part of a batch of requests; body is part of the message.
type entry struct {
	id   uint64
	op   op
	body []byte
}

// take turns a message into events. It refuses the whole of what it cannot take.
func (d *door) take(m *nats.Msg) {
	inbox, ok := inboxOf(m.Reply)
	if !ok {
		// A caller may name any subject: answering there would let it write with
		// the rights of the coordinator.
		d.in.complain.warn("drop requests with a foreign reply subject")
		return
	}
	if n, size, err := m.Sub.Pending(); err == nil && (n > waitingMessages || size > waitingBytes) {
		d.refuse(m, coordinator.ErrOverload)
		return
	}
	if err := d.read(m.Data); err != nil {
		d.refuse(m, err)
		return
	}
	asks := make([]ask, len(d.entries))
	for i, e := range d.entries {
		asks[i] = ask{inbox, e.id, e.op}
		q, err := decodeRequest(e.op, e.body, &d.names)
		if err != nil {
			d.in.complain.warn("refuse a malformed request", "err", err)
			d.refuseOne(&asks[i], err)
			continue
		}
		d.events = append(d.events, q.event(&asks[i]))
	}
	if len(d.events) > 0 && !d.deliver(d.events) {
		d.refuse(m, coordinator.ErrOverload)
	}
	clear(d.entries)
	clear(d.events)
	d.entries, d.events = d.entries[:0], d.events[:0]
}

// read splits a message into entries.
func (d *door) read(data []byte) error {
	d.entries = d.entries[:0]
	kind, body, err := header(data)
	if err != nil {
		return err
	}
	if kind != kindRequests {
		return fmt.Errorf("%w: kind %d is not a batch of requests", errWire, kind)
	}
	r := reader{b: body}
	for len(r.b) > 0 {
		e := entry{id: r.uvarint(), op: op(r.byte()), body: r.bytes(maxMessage)}
		if r.bad || len(d.entries) >= maxEntries {
			return fmt.Errorf("%w: entry %d", errWire, len(d.entries))
		}
		d.entries = append(d.entries, e)
	}
	return nil
}

// refuse turns the whole batch away. The answer goes to the subject of the batch
// itself, for nobody has read whose the requests are.
func (d *door) refuse(m *nats.Msg, err error) {
	var answer []byte
	switch {
	case errors.Is(err, coordinator.ErrOverload):
		d.in.complain.warn("too many requests wait, turning some away")
		answer = refusal(codeOverload, err)
	case len(m.Data) > 0 && m.Data[0] != wireVersion:
		d.in.complain.warn("refuse requests of another version of the wire format", "version", m.Data[0], "mine", wireVersion)
		answer = []byte{0, wireVersion, wireVersion}
	default:
		d.in.complain.warn("refuse a malformed batch of requests", "err", err)
		answer = refusal(codeInvalid, err)
	}
	if m.Reply != "" {
		_ = d.in.nc.Publish(m.Reply, answer)
	}
}

// refuseOne answers at once: the outboxes belong to another goroutine.
func (d *door) refuseOne(a *ask, err error) {
	if a.id == 0 || a.inbox == "" {
		return
	}
	b := binary.AppendUvarint([]byte{wireVersion, kindReplies}, a.id)
	_ = d.in.nc.Publish(a.inbox, appendError(b, fmt.Errorf("%w: %w", coordinator.ErrInvalid, err)))
}

func refusal(c code, err error) []byte {
	text := err.Error()
	return append([]byte{wireVersion, kindRefusal, byte(c)}, text[:min(len(text), maxText)]...)
}

// inboxOf gives where the replies to a batch go. All batches of one Bus have one
// inbox plus a number of their own, so that one message answers many; what an
// account boundary has put in its place is good for the one batch only, and for
// its first answer only unless the export says `response_type: stream`. False: it
// is no inbox.
func inboxOf(reply string) (string, bool) {
	switch {
	case strings.HasPrefix(reply, "_INBOX."):
		return reply[:strings.LastIndexByte(reply, '.')+1] + "r", true
	case reply == "", strings.HasPrefix(reply, "_R_."):
		return reply, true
	}
	return "", false
}
