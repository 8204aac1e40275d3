package coordinator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// world runs several machines over one log that loses acknowledgements, lets
// appends land late and forgets what it may.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	log     [][]byte
	leaders []*rig
	late    []Append // sent, still on their way
	writer  uint64
	xids    []gtx.XID
	purged  uint64
	purges  int
	handed  int // hand-overs that were begun
	adopted int // transactions
	latest  time.Time
}

// simulated trims soon.
var simulated = Config{TrimBytes: 600, Tombstone: 5 * time.Second, DoneDelay: time.Second, PushMin: time.Second, PushMax: 4 * time.Second}

// now is the latest time that any machine has seen.
func (w *world) now() time.Time {
	for _, r := range w.leaders {
		if r.now.After(w.latest) {
			w.latest = r.now
		}
	}
	return w.latest
}

func (w *world) collect(r *rig) {
	clear(r.replies)
	for _, p := range r.pushes {
		if p.Status == gtx.Committed && w.rnd.IntN(2) == 0 {
			r.step(Ack{Call: "register", Resource: p.Resource, XIDs: []gtx.XID{p.XID}})
			clear(r.replies)
		}
	}
	r.pushes = nil
	for _, upTo := range r.purges {
		if upTo > w.purged && w.rnd.IntN(2) == 0 {
			w.purged = upTo
			w.purges++
			clear(w.log[:upTo])
		}
	}
	r.purges = nil
}

// deliver moves the outstanding append of r one step, in one of the ways that a
// network allows.
func (w *world) deliver(r *rig) {
	if r.append == nil {
		return
	}
	a := *r.append
	switch w.rnd.IntN(6) {
	case 0: // lost on the way
		r.append = nil
		r.step(Unclear{})
	case 1: // on its way for longer than its sender waits
		w.late = append(w.late, a)
		r.append = nil
		r.step(Unclear{})
	case 2: // stored, the answer is lost
		r.store(a)
		r.append = nil
		r.step(Unclear{})
	default:
		r.append = nil
		if r.store(a) {
			r.step(Landed{Seq: uint64(len(w.log))})
		} else {
			r.step(Found{Body: w.log[a.Prev], At: r.now})
		}
	}
}

func (w *world) request(r *rig) {
	if len(w.xids) == 0 || w.rnd.IntN(4) == 0 {
		r.step(Begin{Call: "begin", Timeout: time.Duration(1+w.rnd.IntN(50)) * time.Second})
		a := r.replies["begin"]
		delete(r.replies, "begin")
		if a.Err == nil {
			w.xids = append(w.xids, a.XID)
			r.step(Register{Call: "register", XID: a.XID, Ref: ref("a", 1)})
			r.step(Register{Call: "register2", XID: a.XID, Ref: ref("b", 1)})
			clear(r.replies)
		}
		return
	}
	x := w.xids[max(0, len(w.xids)-1-w.rnd.IntN(20))]
	both := []gtx.BranchRef{ref("a", 1), ref("b", 1)}
	call := fmt.Sprint("commit", r.call())
	switch w.rnd.IntN(12) {
	case 10, 11: // answered now or at the end of x, by whoever leads then
		r.step(Await{Call: fmt.Sprint("await", r.call()), Waiter: w.xids[w.rnd.IntN(len(w.xids))], Holder: x, Nonce: w.rnd.Uint64()})
	case 0:
		r.step(Rollback{Call: "rollback", XID: x})
	case 1, 2, 3:
		r.step(Outcome{Call: "outcome", XID: x})
	case 4:
		r.step(Register{Call: "register", XID: x, Ref: ref("a", 1)})
	case 5:
		r.step(Commit{Call: call, XID: x, Confirmed: both[:1]})
	default:
		r.step(Commit{Call: call, XID: x, Confirmed: both})
	}
}

// TestEverythingIsCounted: after whatever is lost, delayed or repeated, every
// count, list and heap of a machine fits to what it holds. What the machines say
// is checked by internal/sim, which cannot look inside.
func TestEverythingIsCounted(t *testing.T) {
	var purges, handed, adopted int
	for seed := range uint64(100) {
		w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), latest: start}
		for step := range 600 {
			if len(w.leaders) == 0 || w.rnd.IntN(60) == 0 {
				w.writer++
				w.leaders = append(w.leaders, followAt(t, &w.log, w.writer, simulated, w.now()))
			}
			i := w.rnd.IntN(len(w.leaders))
			r := w.leaders[i]
			switch n := w.rnd.IntN(100); {
			case n == 0: // crash
				w.leaders = append(w.leaders[:i], w.leaders[i+1:]...)
				continue
			case n < 40:
				w.deliver(r)
			case n < 45 && len(w.late) > 0:
				j := w.rnd.IntN(len(w.late))
				r.store(w.late[j])
				w.late = append(w.late[:j], w.late[j+1:]...)
			case n == 45:
				if r.m.Leading() {
					w.handed++
					w.adopted += r.m.handed.live
				}
				r.step(Handover{})
			case n < 60:
				r.now = r.now.Add(time.Duration(w.rnd.IntN(2000)) * time.Millisecond)
				r.step(Tick{})
			default:
				w.request(r)
			}
			w.collect(r)
			if err := r.m.check(); err != nil && r.down == nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if last, _ := r.m.Position(); r.yielded && last >= w.purged {
				r.campaign()
			} else if r.yielded {
				r.down = ErrGap // it has to read again what is gone
			}
			if r.down != nil {
				if !errors.Is(r.down, ErrFenced) && !errors.Is(r.down, ErrHandedOver) && (!errors.Is(r.down, ErrGap) || w.purges == 0) {
					t.Fatalf("seed %d step %d: stepped down: %v", seed, step, r.down)
				}
				w.leaders = append(w.leaders[:i], w.leaders[i+1:]...)
			}
		}
		purges, handed, adopted = purges+w.purges, handed+w.handed, adopted+w.adopted
	}
	t.Logf("%d purges, %d hand-overs, %d transactions adopted", purges, handed, adopted)
	if purges == 0 || handed == 0 || adopted == 0 {
		t.Error("something never happened")
	}
}
