package outbox

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// workTime is how long a worker begins new waves with one claim.
	workTime = 2 * time.Second
	// waveBytes bounds the bodies of a wave, unless it is one message.
	waveBytes = 8 << 20
)

// batch is what a worker does with one claim.
type batch struct {
	r        *relay
	c        *claim
	chains   []*chain
	acked    []*row
	dead     []failure
	progress uint64 // slots of which a message has gone
	rows     int    // that were read
	read     time.Duration
}

// chain is messages that go one after the other: those of a key, or one without.
type chain struct{ rows []row }

// failure is a message that no stream will take.
type failure struct {
	row
	err error
}

// work publishes messages of a set of slots, and tells whether any has gone.
func (r *relay) work(stop context.Context, set uint64) bool {
	b := &batch{r: r}
	defer func() {
		if b.rows < manyRows {
			b.read = 0 // slow for another reason: who waits for a decision must not wait longer
		}
		r.rested(set, b.progress, b.read)
	}()
	ctx, cancel := bound(stop, sqlTime+workTime+r.o.cfg.PublishTimeout)
	defer cancel()
	if r.o.text.Name() == "sqlite" {
		// A lease is a write that all writers wait for: not where nothing can go.
		b.c = &claim{o: r.o, held: r.held}
		if err := b.collect(ctx, set); err != nil {
			r.complain(err)
			return false
		}
		if len(b.chains) == 0 {
			return false
		}
		b.chains = nil
	}
	var err error
	if b.c, err = r.o.take(ctx, set, r.held); err != nil {
		r.complain(err)
		return false
	}
	if b.c.slots != 0 {
		if err = b.collect(ctx, b.c.slots); err == nil {
			b.publish(ctx, stop)
		}
	}
	if buried, end := b.c.finish(ctx, b.acked, b.dead); end != nil {
		err = end
		b.progress = 0
	} else {
		r.o.count.died.Add(int64(buried))
	}
	if err != nil {
		r.complain(err)
	}
	return b.progress != 0
}

// collect reads what can be published now, in order. A message whose global transaction
// is undecided, or whose subject fails, holds back those of its key, and no others: so
// one look may have to go past many.
func (b *batch) collect(ctx context.Context, set uint64) error {
	defer func(begun time.Time) { b.read += time.Since(begun) }(time.Now())
	limit := max(1, b.r.o.cfg.Batch/max(1, bits.OnesCount64(set)))
	list, err := b.c.page(ctx, set, inlineBody, limit)
	if err != nil {
		return err
	}
	b.rows += len(list)
	slices.SortFunc(list, inOrder) // UNION ALL promises none
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].slot == list[0].slot {
			n++
		}
		if err := b.collectSlot(ctx, list[:n], limit); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func inOrder(x, y row) int {
	return cmp.Or(cmp.Compare(x.slot, y.slot), cmp.Compare(x.pos, y.pos), cmp.Compare(x.id, y.id))
}

// maxPage bounds how many messages that cannot go are read to find one that can, in one
// slot: behind more of them, the others wait.
const maxPage = 1 << 16

// collectSlot takes what can go of one slot, whose first messages are list. Where none can it
// reads more, from the beginning and in one statement: messages of a key that one local
// transaction has sent become visible together, and a second page, read after the first, may
// show the later ones of them only.
func (b *batch) collectSlot(ctx context.Context, list []row, limit int) error {
	for read := limit; ; {
		chains := b.r.choose(list, limit)
		if len(chains) > 0 || len(list) < read || read >= maxPage {
			b.chains = append(b.chains, chains...)
			return nil
		}
		read = min(4*read, maxPage)
		var err error
		if list, err = b.c.page(ctx, 1<<list[0].slot, 0, read); err != nil {
			return err
		}
		b.rows += len(list)
	}
}

// choose makes chains of at most limit messages that can go now. A key whose next message
// cannot is passed over.
func (r *relay) choose(list []row, limit int) (all []*chain) {
	chains, blocked, taken := map[string]*chain{}, map[string]bool{}, 0
	for i := range list {
		m := &list[i]
		if m.key != "" && blocked[m.key] {
			continue
		}
		if m.held || r.resting(m.subject) {
			blocked[m.key] = true
			continue
		}
		ch := chains[m.key]
		if ch == nil || m.key == "" {
			ch = &chain{}
			chains[m.key] = ch
			all = append(all, ch)
		}
		ch.rows = append(ch.rows, *m)
		if taken++; taken >= limit {
			break
		}
	}
	return all
}

// publish sends the chains in waves, of each the first message that is left, so that of
// one key never two are under way: a stream that refuses the first and takes the second
// would turn them round.
func (b *batch) publish(ctx, stop context.Context) {
	// One wave in any case: the look for messages may have taken all the time.
	for first := true; len(b.chains) > 0 && stop.Err() == nil && b.r.nc.IsConnected(); first = false {
		if worked := time.Since(b.c.taken); worked > workTime && !first || b.c.owner != "" && worked > workTime+leaseMargin/2 {
			return
		}
		var wave []*flight
		var bytes int64
		for _, ch := range b.chains {
			m := &ch.rows[0]
			if len(wave) > 0 && bytes+m.size > waveBytes {
				break
			}
			bytes += m.size
			if err := b.c.fetch(ctx, m); err != nil {
				b.r.complain(err)
				b.chains = nil // the claim is lost
				break
			}
			wave = append(wave, b.send(ch))
		}
		b.land(wave)
		left := b.chains[:0]
		for _, ch := range b.chains {
			if len(ch.rows) > 0 {
				left = append(left, ch)
			}
		}
		b.chains = left
	}
}

// flight is a message under way.
type flight struct {
	ch     *chain
	future jetstream.PubAckFuture
	err    error
}

func (b *batch) send(ch *chain) *flight {
	m := &ch.rows[0]
	f := &flight{ch: ch}
	header, err := decodeHeader(m.header)
	if err != nil {
		f.err = fmt.Errorf("%w: %w", errCorrupt, err)
		return f
	}
	own, _ := b.r.o.ownHeader(m.id, m.key)
	maps.Copy(header, own)
	// The client of a connection that is away keeps what it is given, and sends it when it
	// is back: that may be after another relay has gone on.
	if !b.r.nc.IsConnected() {
		f.err = nats.ErrDisconnected
		return f
	}
	// Without retries of the client: it would repeat what this relay has given up.
	f.future, f.err = b.r.js.PublishMsgAsync(&nats.Msg{Subject: m.subject, Header: header, Data: m.body}, jetstream.WithRetryAttempts(0))
	m.body = nil
	return f
}

// land waits for the acknowledgements of a wave.
func (b *batch) land(wave []*flight) {
	if len(wave) == 0 {
		return
	}
	// The client ends each by itself; the timer is for what its clean-up has forgotten.
	timer := time.NewTimer(b.r.o.cfg.PublishTimeout + time.Second)
	defer timer.Stop()
	late := false
	for _, f := range wave {
		var ack *jetstream.PubAck
		err := f.err
		switch {
		case err != nil:
		case late:
			err = jetstream.ErrAsyncPublishTimeout
			select {
			case ack = <-f.future.Ok():
				err = nil
			default:
			}
		default:
			select {
			case ack = <-f.future.Ok():
			case err = <-f.future.Err():
			case <-timer.C:
				late, err = true, jetstream.ErrAsyncPublishTimeout
			}
		}
		b.landed(f.ch, ack, err)
	}
}

// landed takes the first message off its chain, or ends the chain.
func (b *batch) landed(ch *chain, ack *jetstream.PubAck, err error) {
	m := &ch.rows[0]
	switch {
	case err == nil:
		b.acked = append(b.acked, m)
		b.r.o.count.published.Add(1)
		if ack.Duplicate {
			b.r.o.count.duplicates.Add(1)
		}
		b.r.recovered(m.subject)
	case permanent(err):
		b.dead = append(b.dead, failure{*m, err})
	default:
		b.r.o.count.retries.Add(1)
		b.r.failed(m.subject, err)
		ch.rows = nil // order: the others of this key wait with it
		return
	}
	b.progress |= 1 << m.slot
	ch.rows = ch.rows[1:]
}
