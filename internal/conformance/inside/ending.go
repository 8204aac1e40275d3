package inside

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/globaltx/globaltx/internal/conformance/hook"
)

// settleTime bounds phase two of one segment.
const settleTime = 30 * time.Second

// undoTime bounds the count of undo rows at the end of a segment.
const undoTime = 5 * time.Second

// errAborted is what the function of gtx.Run returns in mode abort.
var errAborted = errors.New("inside: aborted by the harness")

// end ends the segment, and tells t what is not as it should be. cut: it is committed
// although the mode is abort. s.mu is held.
func (s *session) end(t hook.T, mode Mode, cut bool) {
	t.Helper()
	g := s.seg
	if g == nil {
		return
	}
	s.seg, g.over = nil, true
	rec := Record{Event: "segment", Test: t.Name(), End: string(mode), Writes: len(g.written)}
	if cut {
		rec.End = "cut"
	}
	var cause error
	if mode == Abort {
		cause = errAborted
	}
	open := g.open > 0
	// A database that is gone has nothing to compare, and must not be opened: that would
	// make a new one.
	maps.DeleteFunc(g.before, func(tg *target, _ *snapshot) bool { return tg.gone() })
	rec.Undo = g.undo()
	g.finish <- cause
	err := <-g.done
	switch {
	case mode == Abort && errors.Is(err, errAborted), mode == Commit && err == nil:
		if open {
			rec.End = "open"
		}
	case open: // the test leaves a local transaction to the end of the process
		rec.End, mode = "open", Abort
	default:
		s.lost(t, "commit", err)
	}
	for tg, before := range g.before {
		if err := tg.settled(s.settle); err != nil {
			s.lost(t, "settle", fmt.Errorf("%s: %w", tg.name, err))
			continue
		}
		if before == nil || mode != Abort {
			continue
		}
		after, err := tg.snapshot()
		if err != nil {
			t.Errorf("inside: %v", err)
			continue
		}
		tables, rows, diff := compare(before, after)
		rec.Tables, rec.Rows = rec.Tables+tables, rec.Rows+rows
		for _, d := range diff {
			d = tg.name + ": " + d
			rec.Differences = append(rec.Differences, d)
			t.Errorf("inside: after the abort of %s: %s", g.xid, d)
		}
	}
	s.rec.add(rec)
	for _, c := range g.closers {
		c()
	}
}

// undo counts the undo rows of a segment that has not ended. Databases that cannot be
// read now, since the test holds a lock, are left out: the number is for the gate against
// suites that write nothing, and one that is too small cannot open it.
func (g *segment) undo() (n int) {
	ctx, cancel := context.WithTimeout(context.Background(), undoTime)
	defer cancel()
	for tg := range g.before {
		k, err := tg.count(ctx, "gtx_undo")
		if err == nil {
			n += k
		}
	}
	return n
}

func (s *session) lost(t hook.T, code string, err error) {
	t.Helper()
	t.Errorf("inside: %s: %v", code, err)
	s.rec.add(Record{Event: "lost", Test: t.Name(), Code: code, Reason: short(fmt.Sprint(err))})
}

// settled waits until phase two has left nothing. What stays is taken away then, so
// that one failure is not found again in every later test.
func (tg *target) settled(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		n, err := tg.leftovers(ctx)
		if err == nil && n == 0 {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
		}
		seen := tg.describe()
		return errors.Join(fmt.Errorf("%d rows left in gtx_undo and gtx_branch after %s: %s", n, limit, seen), err, tg.wipe())
	}
}
