package coordinator

import (
	"errors"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	testLog = 0xfeed
)

var (
	start      = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	a1, a2, b1 = ref("a", 1), ref("a", 2), ref("b", 1)
	some       = Config{Tombstone: time.Hour, DoneDelay: time.Second, PushMin: time.Second, PushMax: 4 * time.Second}
)

// rig is a machine with a log and a clock that the test turns by hand.
type rig struct {
	t   *testing.T
	m   *Machine
	now time.Time
	log *[][]byte // messages from sequence 1, nil when purged; shared with other rigs

	append  *Append // outstanding
	replies map[any]Reply
	pushes  []Push
	purges  []uint64
	yielded bool
	down    error
	calls   int
}

// follow makes a machine that has read log and campaigns.
func follow(t *testing.T, log *[][]byte, writer uint64, cfg Config) *rig {
	t.Helper()
	return followAt(t, log, writer, cfg, start)
}

// followAt does the same at a time; the log was written then, too.
func followAt(t *testing.T, log *[][]byte, writer uint64, cfg Config, now time.Time) *rig {
	t.Helper()
	m, err := New(cfg, writer, testLog)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, m: m, now: now, log: log, replies: map[any]Reply{}}
	r.campaign()
	return r
}

// load feeds the machine with what it does not know of the log.
func (r *rig) load() {
	r.t.Helper()
	last, _ := r.m.Position()
	for i, body := range (*r.log)[last:] {
		if body == nil && last == 0 {
			continue // purged
		}
		if err := r.m.Load(last+uint64(i)+1, r.now, body); err != nil {
			r.t.Fatal(err)
		}
	}
}

// campaign loads and asks for the next epoch.
func (r *rig) campaign() {
	r.t.Helper()
	r.load()
	actions, err := r.m.Campaign()
	if err != nil {
		r.t.Fatal(err)
	}
	r.yielded = false
	r.take(actions)
}

// lead makes a machine that leads.
func lead(t *testing.T, log *[][]byte, writer uint64, cfg Config) *rig {
	t.Helper()
	r := follow(t, log, writer, cfg)
	r.land()
	if !r.m.Leading() {
		t.Fatal("does not lead after its epoch landed")
	}
	return r
}

func (r *rig) take(actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Append:
			if r.append != nil {
				r.t.Fatal("rule L5: two appends outstanding")
			}
			r.append = &a
		case Reply:
			if _, ok := r.replies[a.Call]; ok {
				r.t.Fatalf("two replies to call %v", a.Call)
			}
			r.replies[a.Call] = a
		case Push:
			r.pushes = append(r.pushes, a)
		case Purge:
			r.purges = append(r.purges, a.UpTo)
		case Yield:
			r.yielded = true
		case StepDown:
			r.down = a.Err
		}
	}
}

func (r *rig) step(e Event) { r.take(r.m.Step(r.now, e)) }

// store appends to the log if the fence allows.
func (r *rig) store(a Append) bool {
	if a.Prev != uint64(len(*r.log)) {
		return false
	}
	*r.log = append(*r.log, a.Body)
	return true
}

// land performs the outstanding append, and those that follow from it.
func (r *rig) land() {
	r.t.Helper()
	for r.append != nil || r.yielded {
		if r.yielded {
			r.campaign()
		}
		a := *r.append
		r.append = nil
		if r.store(a) {
			r.step(Landed{Seq: uint64(len(*r.log))})
		} else {
			r.step(Found{Body: (*r.log)[a.Prev], At: r.now})
		}
	}
}

func (r *rig) pass(d time.Duration) {
	r.now = r.now.Add(d)
	r.step(Tick{})
}

func (r *rig) call() int {
	r.calls++
	return r.calls
}

// answer is the reply to call, which must have come.
func (r *rig) answer(call int) Reply {
	r.t.Helper()
	a, ok := r.replies[call]
	if !ok {
		r.t.Fatalf("call %d has no reply", call)
	}
	return a
}

func (r *rig) begin(refs ...gtx.BranchRef) gtx.XID {
	r.t.Helper()
	c := r.call()
	r.step(Begin{Call: c, Timeout: time.Minute})
	a := r.answer(c)
	if a.Err != nil {
		r.t.Fatal(a.Err)
	}
	for _, ref := range refs {
		if err := r.register(a.XID, ref); err != nil {
			r.t.Fatal(err)
		}
	}
	return a.XID
}

func (r *rig) register(x gtx.XID, ref gtx.BranchRef) error {
	r.t.Helper()
	c := r.call()
	r.step(Register{Call: c, XID: x, Ref: ref})
	return r.answer(c).Err
}

// commit sends Commit and gives its call.
func (r *rig) commit(x gtx.XID, confirmed, dead []gtx.BranchRef) int {
	c := r.call()
	r.step(Commit{Call: c, XID: x, Confirmed: confirmed, Dead: dead})
	return c
}

func (r *rig) committed(refs ...gtx.BranchRef) gtx.XID {
	r.t.Helper()
	x := r.begin(refs...)
	c := r.commit(x, refs, nil)
	r.land()
	if a := r.answer(c); a.Err != nil || a.Status != gtx.Committed {
		r.t.Fatalf("commit: %+v", a)
	}
	return x
}

func (r *rig) rollback(x gtx.XID) gtx.Status {
	r.t.Helper()
	c := r.call()
	r.step(Rollback{Call: c, XID: x})
	return r.answer(c).Status
}

func (r *rig) outcome(x gtx.XID) gtx.Status {
	r.t.Helper()
	c := r.call()
	r.step(Outcome{Call: c, XID: x})
	if a := r.answer(c); a.Err == nil {
		return a.Status
	} else {
		r.t.Fatalf("outcome of %s: %v", x, a.Err)
	}
	return gtx.Pending
}

func (r *rig) ack(x gtx.XID, res gtx.ResourceID) {
	r.step(Ack{Call: r.call(), Resource: res, XIDs: []gtx.XID{x}})
}

func (r *rig) want(x gtx.XID, st gtx.Status) {
	r.t.Helper()
	if got := r.outcome(x); got != st {
		r.t.Fatalf("outcome of %s is %s, want %s", x, got, st)
	}
}

func (r *rig) wantDown(err error) {
	r.t.Helper()
	if !errors.Is(r.down, err) {
		r.t.Fatalf("stepped down with %v, want %v", r.down, err)
	}
	c := r.call()
	r.step(Begin{Call: c})
	if a := r.answer(c); !errors.Is(a.Err, ErrNotLeader) {
		r.t.Fatalf("answers after stepping down: %+v", a)
	}
}

func ref(r gtx.ResourceID, b gtx.BranchID) gtx.BranchRef {
	return gtx.BranchRef{Resource: r, Branch: b}
}
