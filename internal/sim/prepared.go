package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// prepared is a branch that has voted yes: it needs no session and no process any
// more, keeps its row locks, survives every crash (rule A2), and waits for whoever
// ends it by its name.
type prepared struct {
	name xa.Name
	t    *localTx
	// While its old session is being closed, or somebody else is at it, the branch has no
	// name for others until the first of these times: the server does not know it (rule
	// X3). Until the second one a session that is being closed still has the transaction:
	// who ends the branch by its name is told that it has ended, and it has not (rule X4).
	named, attached time.Duration
}

var (
	errRefused = errors.New("sim: PREPARE is refused, the branch is rolled back")
	errNoName  = errors.New("sim: no prepared branch has this name, or not in this session")
)

// prepare ends the program's share of a branch of mode XA. errRefused is the server's
// word that there is nothing; another error leaves open whether it is prepared, and
// the PREPARE may still be on its way.
func (t *localTx) prepare(n xa.Name) error {
	if err := t.travel("prepare"); err != nil {
		return err
	}
	w := t.d.w
	switch {
	case w.chance(w.opts.commitLost):
		w.count("PREPARE refused")
		t.end()
		return errRefused
	case w.chance(w.opts.commitLost):
		w.count("PREPARE lost")
		t.depart(func() { t.lose() })
		return errLost
	case w.chance(w.opts.commitLost):
		w.count("PREPARE late")
		t.depart(func() {
			if !t.ended {
				t.stay(n)
			}
		})
		return errLost
	}
	t.stay(n)
	if w.chance(w.opts.commitLost) {
		w.count("answer to PREPARE lost")
		return errLost
	}
	return t.gone()
}

// stay makes the transaction a prepared branch: what was its session's is the
// database's from now on.
func (t *localTx) stay(n xa.Name) {
	w := t.d.w
	b := &prepared{name: n, t: t}
	if w.chance(w.opts.sessionStays) {
		b.named = w.now + w.between(0, 2*time.Second)
		if w.chance(0.5) { // else somebody who has begun to end it will lose his connection
			b.attached = b.named + w.between(0, time.Second)
		}
	}
	t.d.prepared = append(t.d.prepared, b)
	t.d.open = slices.DeleteFunc(t.d.open, func(o *localTx) bool { return o == t })
	t.p.open = slices.DeleteFunc(t.p.open, func(o *localTx) bool { return o == t })
	w.truth.prepared(n)
	if w.tracing {
		w.tracef("%s: branch %d of %s is prepared: %s", t.d.id, n.Branch, short(n.XID), t.d.show())
	}
}

// finish ends a prepared branch.
func (b *prepared) finish(commit bool) {
	t, d := b.t, b.t.d
	i := slices.Index(d.prepared, b)
	if i < 0 {
		return // somebody else was first
	}
	d.prepared = slices.Delete(d.prepared, i, i+1)
	if commit {
		for _, wr := range t.data {
			t.note(wr)
			d.rows[wr.n] = wr.value
			if _, held := d.undo[wr.n]; held { // of the same XID: note has looked
				d.w.truth.fate(t.xid).overAT = true
			}
		}
	}
	t.end()
	d.w.truth.preparedEnded(b.name, commit)
	if d.w.tracing {
		word := "rolled back"
		if commit {
			word = "committed"
		}
		d.w.tracef("%s: prepared branch %d of %s is %s: %s", d.id, b.name.Branch, short(b.name.XID), word, d.show())
	}
}

// preparedOf names the prepared branches of x.
func (d *database) preparedOf(x gtx.XID) []xa.Name {
	var names []xa.Name
	for _, b := range d.prepared {
		if b.name.XID == x {
			names = append(names, b.name)
		}
	}
	return names
}

// showPrepared is for the trace: the branches and the rows that they keep locked.
func (d *database) showPrepared() string {
	var s strings.Builder
	for _, b := range d.prepared {
		fmt.Fprintf(&s, " prepared %s", short(b.name.XID))
		for _, k := range b.t.locks {
			fmt.Fprintf(&s, " locks %c%d", k.kind, k.n)
		}
	}
	return s.String()
}

var _ xa.Store = xaStore{}

// xaStore is a database as phase two of prepared branches sees it from one process.
type xaStore struct {
	d *database
	p *process
}

func (s xaStore) Database(context.Context) (gtx.ResourceID, error) { return s.d.id, nil }

// List implements xa.Store. It sees what is prepared when it reaches the server.
func (s xaStore) List(context.Context) ([]xa.Name, error) {
	t := &localTx{d: s.d, p: s.p}
	if err := t.travel("list"); err != nil {
		return nil, err
	}
	var names []xa.Name
	for _, b := range s.d.prepared {
		names = append(names, b.name)
	}
	return names, nil
}

// End implements xa.Store.
func (s xaStore) End(_ context.Context, n xa.Name, commit bool) error {
	t := &localTx{d: s.d, p: s.p}
	if err := t.travel("end"); err != nil {
		return err
	}
	w := s.d.w
	i := slices.IndexFunc(s.d.prepared, func(b *prepared) bool { return b.name == n })
	if i < 0 {
		w.count("end of a branch that is gone")
		return errNoName
	}
	b := s.d.prepared[i]
	switch {
	case w.now < b.named:
		w.count("prepared branch was busy")
		return errNoName
	case w.now < b.attached:
		w.fail("X4", "%s: branch %d of %s is ended by name while its session has it, and stays for ever", s.d.id, n.Branch, short(n.XID))
		return nil
	case w.chance(w.opts.commitLost):
		w.count("end of a prepared branch lost")
		return errLost
	case w.chance(w.opts.commitLost):
		w.count("end of a prepared branch late")
		w.in(w.between(0, 2*time.Second), "", func() {
			if !s.d.down {
				b.finish(commit)
			}
		})
		return errLost
	}
	b.finish(commit)
	return t.gone()
}

// Attached implements xa.Store.
func (s xaStore) Attached(context.Context) ([]string, error) {
	t := &localTx{d: s.d, p: s.p}
	if err := t.travel("attached"); err != nil {
		return nil, err
	}
	var ids []string
	for _, b := range s.d.prepared {
		if s.d.w.now < b.attached {
			s.d.w.count("prepared branch was attached")
			ids = append(ids, strconv.FormatInt(int64(b.name.Branch), 10))
		}
	}
	return ids, nil
}

func (s xaStore) Again(err error) bool { return errors.Is(err, errNoName) }

// Check implements xa.Store: there is always room for one more.
func (s xaStore) Check(context.Context) error {
	t := &localTx{d: s.d, p: s.p}
	return t.travel("check")
}

func (s xaStore) Classify(err error) undo.ErrorClass { return store(s).Classify(err) }
