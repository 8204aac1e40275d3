package coordinator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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
	handed  int                          // hand-overs that were begun
	adopted int                          // transactions
	claims  int                          // that were answered with committed
	closes  int                          // questions that were answered with aborted behind a Close
	told    map[gtx.XID][]gtx.ResourceID // what participants know: pre-committed, with whom
	fates   map[gtx.XID]gtx.Status
	latest  time.Time
}

// simulated trims soon.
var simulated = Config{
	TrimBytes: 600, Tombstone: 5 * time.Second, DoneDelay: time.Second, PushMin: time.Second, PushMax: 4 * time.Second,
	PreCommitWait: 2 * time.Second, ClaimWindow: 2 * time.Second,
}

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
	for call, a := range r.replies {
		w.heard(r, call, a)
	}
	clear(r.replies)
	for _, p := range r.pushes {
		if p.Status == gtx.PreCommitted {
			w.told[p.XID] = p.Participants
			if w.rnd.IntN(3) > 0 {
				r.step(Ready{Call: "register", Resource: p.Resource, XIDs: []gtx.XID{p.XID}})
				clear(r.replies)
			}
		}
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

// heard compares what a machine says with what was said before, by any of them.
func (w *world) heard(r *rig, call any, a Reply) {
	if a.Err != nil || a.Status != gtx.Committed && a.Status != gtx.Aborted {
		return
	}
	if was, ok := w.fates[a.XID]; ok && was != a.Status {
		w.t.Errorf("%s is %s and was %s", a.XID, a.Status, was)
	}
	w.fates[a.XID] = a.Status
	switch {
	case a.Status == gtx.Committed && strings.HasPrefix(fmt.Sprint(call), "claim"):
		w.claims++
	case a.Status == gtx.Aborted && a.XID.ThreePhase() && a.XID.Epoch < r.m.closed:
		w.closes++
	}
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
		b := Begin{Call: "begin", Timeout: time.Duration(1+w.rnd.IntN(50)) * time.Second}
		if w.rnd.IntN(2) == 0 {
			b.Mode, b.Resources = gtx.ThreePhase, ab
		}
		r.step(b)
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
	switch w.rnd.IntN(14) {
	case 12, 13:
		if rs := w.told[x]; rs != nil {
			r.step(Claim{Call: fmt.Sprint("claim", r.call()), XID: x, Participants: rs})
		}
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
// count, list and heap of a machine fits to what it holds, and no two of them tell
// different fates. What the databases make of it is checked by internal/sim, which
// cannot look inside.
func TestEverythingIsCounted(t *testing.T) {
	var purges, handed, adopted, claims, closes int
	for seed := range uint64(100) {
		w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), latest: start, told: map[gtx.XID][]gtx.ResourceID{}, fates: map[gtx.XID]gtx.Status{}}
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
			if t.Failed() {
				t.Fatalf("seed %d step %d", seed, step)
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
		claims, closes = claims+w.claims, closes+w.closes
	}
	t.Logf("%d purges, %d hand-overs, %d transactions adopted, %d claims, %d closed", purges, handed, adopted, claims, closes)
	if purges == 0 || handed == 0 || adopted == 0 || claims == 0 || closes == 0 {
		t.Error("something never happened")
	}
}
