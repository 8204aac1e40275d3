package natsbus

import (
	"cmp"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

const (
	// batchEntries bounds the requests of one message.
	batchEntries = 512
	// maxAcks bounds the acknowledgements that wait to be sent. What is beyond it
	// is pushed and acknowledged again.
	maxAcks = 1 << 16
)

// batcher sends the requests of one process in batches and hands the answers
// out. A request goes at once when nothing is being sent; what comes meanwhile
// goes together. It never sends a request whose caller has gone: the queue holds
// only ids, and drop takes the id back.
type batcher struct {
	nc       *nats.Conn
	subject  string
	inbox    string // unguessable: whoever knows it can have false answers sent
	complain *complaints
	wake     chan struct{} // holds a token while there may be something to send
	quit     chan struct{}
	wg       sync.WaitGroup
	spare    sync.Pool // of *call

	// mu protects the following.
	mu     sync.Mutex
	lastID uint64
	calls  map[uint64]*call // not yet answered
	queue  []uint64         // to be sent
	acks   map[word][]gtx.XID
	nacks  int
	batch  uint64 // number of the last one
}

// word is what is told of many XIDs of a resource, without an answer: opAck, opReady.
type word struct {
	op op
	r  gtx.ResourceID
}

// call is one request under way. It is used again for another: nothing but
// batcher.calls leads to it from the side that sends and answers.
type call struct {
	id    uint64
	op    op
	body  []byte
	batch uint64      // that it went with last
	got   chan result // has room for what its caller has not yet looked at
	timer *time.Timer
}

// result is an answer, or the error that says why there is none.
type result struct {
	answer
	err  error
	last bool // asking again would not help
}

func newBatcher(nc *nats.Conn, partition uint16, complain *complaints) (*batcher, error) {
	prefix := cmp.Or(nc.Opts.InboxPrefix, "_INBOX")
	if _, ok := inboxOf(prefix + ".1"); !ok {
		return nil, fmt.Errorf("subscribe to replies: the inbox prefix %q does not begin with _INBOX, coordinators answer nowhere else", prefix)
	}
	b := &batcher{
		nc: nc, subject: requestSubject(partition), inbox: prefix + "." + crand.Text() + ".", complain: complain,
		wake: make(chan struct{}, 1), quit: make(chan struct{}),
		calls: map[uint64]*call{}, acks: map[word][]gtx.XID{},
	}
	sub, err := nc.Subscribe(b.inbox+"*", b.take)
	if err != nil {
		return nil, fmt.Errorf("subscribe to replies: %w", err)
	}
	// Answers are taken faster than they come; there is nothing to gain from
	// dropping one.
	if err := sub.SetPendingLimits(-1, droppedBytes); err != nil {
		return nil, fmt.Errorf("subscribe to replies: %w", err)
	}
	b.wg.Go(b.run)
	return b, nil
}

// stop sends what is queued and ends the sender.
func (b *batcher) stop() {
	close(b.quit)
	b.wg.Wait()
}

// start makes a call of q. It is not sent before send.
func (b *batcher) start(q *request) (*call, error) {
	c, _ := b.spare.Get().(*call)
	if c == nil {
		c = &call{got: make(chan result, 4), timer: time.NewTimer(time.Hour)}
		c.timer.Stop()
	}
	c.op, c.batch, c.body = q.Op, 0, q.append(c.body[:0])
	if len(c.body) > maxMessage-32 {
		return nil, fmt.Errorf("%w: %d bytes are too many for one request", ErrRefused, len(c.body))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastID++
	c.id = b.lastID
	b.calls[c.id] = c
	return c, nil
}

// send queues c, which may be sent already.
func (b *batcher) send(c *call) {
	b.mu.Lock()
	b.queue = append(b.queue, c.id)
	b.mu.Unlock()
	b.poke()
}

// drop ends c: it is not sent any more, and late answers go nowhere. The caller
// must not use it again.
func (b *batcher) drop(c *call) {
	b.mu.Lock()
	delete(b.calls, c.id)
	b.mu.Unlock()
	c.timer.Stop()
	for len(c.got) > 0 {
		<-c.got
	}
	if cap(c.body) <= 4<<10 {
		b.spare.Put(c)
	}
}

// tell sends a request that gets no answer.
func (b *batcher) tell(q *request) {
	body := q.append(nil)
	m := append(make([]byte, 0, len(body)+16), wireVersion, kindRequests, 0)
	_ = b.nc.Publish(b.subject, append(appendHead(m, q.Op, len(body)), body...))
}

// ack queues an acknowledgement, or that something is ready; those of one resource go
// in one entry.
func (b *batcher) ack(w word, x gtx.XID) {
	b.mu.Lock()
	if b.nacks < maxAcks {
		b.acks[w] = append(b.acks[w], x)
		b.nacks++
	}
	b.mu.Unlock()
	b.poke()
}

func (b *batcher) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *batcher) run() {
	var buf []byte
	for {
		select {
		case <-b.wake:
		case <-b.quit:
			for b.sendOne(&buf) {
			}
			return
		}
		// Whoever can run now may have a request, too. When nobody can, this takes
		// no time.
		runtime.Gosched()
		for b.sendOne(&buf) {
		}
	}
}

// sendOne sends one batch of what is queued, false when there was nothing.
func (b *batcher) sendOne(buf *[]byte) bool {
	b.mu.Lock()
	n := b.batch + 1
	msg := b.fill(append((*buf)[:0], wireVersion, kindRequests), n)
	none := len(msg) == 2
	if !none {
		b.batch = n
	}
	b.mu.Unlock()
	if *buf = msg; cap(msg) > 2*softMessage {
		*buf = nil
	}
	if none {
		return false
	}
	if err := b.nc.PublishRequest(b.subject, b.inbox+strconv.FormatUint(n, 10), msg); err != nil {
		b.fail(n, result{err: fmt.Errorf("%w: %w", gtx.ErrUnavailable, err)})
	}
	return true
}

// fill appends what fits into batch n. Callers hold b.mu.
func (b *batcher) fill(msg []byte, n uint64) []byte {
	taken, entries := 0, 0
	for _, id := range b.queue {
		c := b.calls[id]
		if c != nil && entries > 0 && (len(msg)+len(c.body) > softMessage || entries >= batchEntries) {
			break
		}
		taken++
		if c == nil {
			continue // its caller has gone
		}
		c.batch = n
		msg = binary.AppendUvarint(msg, id)
		msg = append(appendHead(msg, c.op, len(c.body)), c.body...)
		entries++
	}
	b.queue = b.queue[:copy(b.queue, b.queue[taken:])]
	for w, xids := range b.acks {
		if len(msg) > softMessage || entries >= batchEntries {
			break
		}
		part := xids[:min(len(xids), batchEntries)]
		q := request{Op: w.op, Resource: w.r, XIDs: part}
		body := q.append(nil)
		msg = append(appendHead(append(msg, 0), w.op, len(body)), body...)
		entries++
		b.nacks -= len(part)
		if len(part) == len(xids) {
			delete(b.acks, w)
		} else {
			b.acks[w] = xids[len(part):]
		}
	}
	return msg
}

func appendHead(msg []byte, o op, n int) []byte {
	return binary.AppendUvarint(append(msg, byte(o)), uint64(n))
}

// take hands the answers of one message to their callers.
func (b *batcher) take(m *nats.Msg) {
	if token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]; token != "r" {
		if n, err := strconv.ParseUint(token, 10, 64); err == nil {
			b.turnedAway(n, m)
			return
		}
	}
	b.answers(m.Data)
}

// turnedAway reads what came back for a whole batch. Across accounts the replies
// come the same way.
func (b *batcher) turnedAway(n uint64, m *nats.Msg) {
	switch d := m.Data; {
	case len(d) == 0 && m.Header.Get("Status") == "503":
		b.fail(n, result{err: fmt.Errorf("%w: %w", gtx.ErrUnavailable, nats.ErrNoResponders)})
	case len(d) == 3 && d[0] == 0:
		b.complain.warn("the coordinator speaks another version of the wire format", "mine", wireVersion, "min", d[1], "max", d[2])
		b.fail(n, result{err: &VersionError{Mine: wireVersion, Min: int(d[1]), Max: int(d[2])}, last: true})
	case len(d) >= 3 && d[0] == wireVersion && d[1] == kindRefusal:
		err := errorOf(code(d[2]), string(d[3:]))
		b.fail(n, result{err: err, last: !errors.Is(err, coordinator.ErrOverload)})
	default:
		b.answers(d)
	}
}

// fail tells those whose request went with batch n last.
func (b *batcher) fail(n uint64, r result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if c.batch == n {
			c.give(r)
		}
	}
}

func (b *batcher) answers(data []byte) {
	kind, body, err := header(data)
	if err == nil && kind != kindReplies {
		err = fmt.Errorf("%w: kind %d is not a batch of replies", errWire, kind)
	}
	r := reader{b: body}
	b.mu.Lock()
	for err == nil && len(r.b) > 0 {
		id, c, body := r.uvarint(), code(r.byte()), r.bytes(maxMessage)
		if r.bad {
			err = errWire
			break
		}
		call := b.calls[id]
		if call == nil {
			continue // its caller has gone
		}
		a, bad := decodeAnswer(call.op, c, body)
		if err = bad; err == nil {
			call.give(result{answer: a})
		}
	}
	b.mu.Unlock()
	if err != nil {
		b.complain.warn("drop replies that cannot be read", "err", err)
	}
}

func (c *call) give(r result) {
	select {
	case c.got <- r:
	default: // the caller has more to read than it wants
	}
}
