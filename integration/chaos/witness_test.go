package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// witness reads the decision log while it grows, so that it knows what the
// coordinators have let it forget (rule G3).
type witness struct {
	js     jetstream.JetStream
	stop   context.CancelFunc
	done   sync.WaitGroup
	reader *coordinator.Machine
	next   uint64
	err    error // valid after done
}

// watchLog begins at the first message.
func watchLog(ctx context.Context, js jetstream.JetStream) (*witness, error) {
	m, err := newReader()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	w := &witness{js: js, stop: stop, reader: m, next: 1}
	w.done.Go(func() {
		for ctx.Err() == nil && w.err == nil {
			w.err = w.read(ctx)
			if wait(ctx, 20*time.Millisecond) != nil {
				return
			}
		}
	})
	return w, nil
}

// read takes what the log has. A read that fails, or finds less than there is,
// is repeated: the next one may find it.
func (w *witness) read(ctx context.Context) error {
	try, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stream, err := w.js.Stream(try, "GTX_LOG")
	if err != nil {
		return nil
	}
	if first := stream.CachedInfo().State.FirstSeq; first > w.next {
		return fmt.Errorf("read decision log: messages %d to %d went before they were read", w.next, first-1)
	}
	for last := stream.CachedInfo().State.LastSeq; w.next <= last; w.next++ {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		msg, err := stream.GetMsg(try, w.next)
		cancel()
		if err != nil {
			return nil
		}
		if err := w.reader.Load(w.next, msg.Time, msg.Data); err != nil {
			return fmt.Errorf("read decision log at %d: %w", w.next, err)
		}
	}
	return nil
}

// verdicts reads the rest of a log that nobody writes to any more, and gives the
// fates that it holds. It refuses what a coordinator would refuse.
func (w *witness) verdicts(ctx context.Context) (*verdicts, error) {
	w.stop()
	w.done.Wait()
	for w.err == nil {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		stream, err := w.js.Stream(try, "GTX_LOG")
		cancel()
		if err == nil && w.next > stream.CachedInfo().State.LastSeq {
			return judge(w.reader, w.next-1)
		}
		w.err = errors.Join(w.read(ctx), ctx.Err())
	}
	return nil, w.err
}

// verdicts are the fates that a decision log holds which was read from its
// first message on.
type verdicts struct {
	m       *coordinator.Machine
	commits int // commit records
	asked   map[string]gtx.Status
}

// newReader gives a machine that forgets nothing of what it loads.
func newReader() (*coordinator.Machine, error) {
	return coordinator.New(coordinator.Config{Tombstone: 1e6 * time.Hour, MaxTombstones: 1 << 30, MaxUnfinished: 1 << 30}, 1, 1)
}

// judge lets a machine that has loaded a log up to the message last answer for
// it. The epoch that it believes to lead is in no log.
func judge(m *coordinator.Machine, last uint64) (*verdicts, error) {
	if _, err := m.Campaign(); err != nil {
		return nil, fmt.Errorf("read decision log: %w", err)
	}
	m.Step(time.Now(), coordinator.Landed{Seq: last + 1})
	if !m.Leading() {
		return nil, errors.New("read decision log: the machine that read it does not lead")
	}
	st := m.Stats()
	return &verdicts{m: m, commits: st.Tombstones + st.Unfinished + st.Forgetting, asked: map[string]gtx.Status{}}, nil
}

// ask is behind the window in which a three-phase transaction may still be claimed (rule
// H3). What the machine then appends to say so is in no log.
func (v *verdicts) ask(xid gtx.XID) (st gtx.Status, err error) {
	late := time.Now().Add(time.Hour)
	for range 2 { // who asks first hears Pending while the record is on its way
		actions := v.m.Step(late, coordinator.Outcome{XID: xid})
		for len(actions) > 0 {
			switch a := actions[0].(type) {
			case coordinator.Append:
				actions = append(actions, v.m.Step(late, coordinator.Landed{Seq: a.Prev + 1})...)
			case coordinator.Reply:
				st, err = a.Status, a.Err
			}
			actions = actions[1:]
		}
		if st != gtx.Pending || err != nil {
			break
		}
	}
	return st, err
}

// of gives the fate of one XID.
func (v *verdicts) of(xid string) string {
	st, ok := v.asked[xid]
	if !ok {
		x, err := gtx.ParseXID(xid)
		if err != nil {
			return err.Error()
		}
		if st, err = v.ask(x); err != nil {
			return err.Error()
		}
		if st == gtx.Expired {
			// Below the horizon of a coordinator; this machine still knows every
			// commit, so there was none.
			st = gtx.Aborted
		}
		v.asked[xid] = st
	}
	return st.String()
}
