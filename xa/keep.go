package xa

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// branch is one that was prepared in this process.
type branch struct {
	name Name
	conn driver.Conn // that alone can end it while it lives; nil where anybody can
	memo any         // of Keep
}

// spare is a connection that has ended its branch.
type spare struct {
	conn  driver.Conn
	memo  any
	since time.Time
}

const (
	maxSpares = 32
	spareTime = 30 * time.Second
)

// Prepared takes note of a branch that this process has prepared, and that End may end
// without a look.
func (r *Resolver) Prepared(n Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mine[n.XID] = append(r.mine[n.XID], branch{name: n})
}

// Keep takes over the connection on which a branch has been prepared, of a server that
// ties it to its session. It is used or closed as soon as the decision is known, which c
// is asked for. memo is what its former user knows of it, for Spare to give to the next
// one; nil where the program has left something behind on it, and nobody else may have it.
func (r *Resolver) Keep(n Name, conn driver.Conn, memo any, c gtx.Coordinator) {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		r.close(conn) // the scan of another process ends the branch
		return
	}
	first := len(r.mine[n.XID]) == 0
	r.mine[n.XID] = append(r.mine[n.XID], branch{n, conn, memo})
	if first {
		r.wait.Go(func() { r.await(n, c) })
	}
	r.mu.Unlock()
}

// await ends the branches of an XID that are kept here when it has been decided. The
// decision is pushed to one of the processes that serve the database, and that may be
// another.
func (r *Resolver) await(n Name, c gtx.Coordinator) {
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(r.ctx, listTime)
		st, err := c.Await(ctx, gtx.XID{}, n.XID)
		cancel()
		if err == nil && st == gtx.Expired {
			st = gtx.Aborted // rule G4: what committed has been acknowledged
		}
		if !r.holds(n.XID) {
			return
		}
		if err == nil && (st == gtx.Committed || st == gtx.Aborted) {
			res := gtx.Resolution{XID: n.XID, Status: st}
			if err = gtx.Deliver(r.ctx, c, ResourceOf(n.Database), r, res); err == nil || errors.Is(err, gtx.ErrNotAcknowledged) {
				return
			}
		}
		if !pause(r.ctx, min(50*time.Millisecond<<min(try, 6), 2*time.Second)) {
			return
		}
	}
}

// holds tells whether a branch of xid is still to be ended here.
func (r *Resolver) holds(xid gtx.XID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mine[xid]) > 0
}

// endMine ends the branches of xid that were prepared here. Whatever a server says of
// one, it is not tried again this way: a connection that failed is closed, so that the
// server lets go of the branch, and the list tells the rest.
func (r *Resolver) endMine(ctx context.Context, xid gtx.XID, commit bool) {
	r.mu.Lock()
	mine := r.mine[xid]
	delete(r.mine, xid)
	r.mu.Unlock()
	for _, b := range mine {
		if err := r.endOne(ctx, b, commit); err != nil {
			r.cfg.Logger.Debug("end prepared branch", "branch", b.name.String(), "err", err)
			continue
		}
		r.count(commit)
	}
}

// release forgets the branches of xid whose end nobody here will learn. Those that hold
// a connection have somebody who waits for it.
func (r *Resolver) release(xid gtx.XID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mine[xid] = slices.DeleteFunc(r.mine[xid], func(b branch) bool { return b.conn == nil })
	if len(r.mine[xid]) == 0 {
		delete(r.mine, xid)
	}
}

func (r *Resolver) endOne(ctx context.Context, b branch, commit bool) error {
	if b.conn == nil {
		return r.store.End(ctx, b.name, commit)
	}
	e, ok := b.conn.(driver.ExecerContext)
	if !ok {
		r.close(b.conn)
		return fmt.Errorf("%T cannot execute without preparing", b.conn)
	}
	if _, err := e.ExecContext(ctx, r.cfg.Dialect.End(b.name, commit), nil); err != nil {
		r.close(b.conn)
		return err
	}
	r.mu.Lock()
	keep := b.memo != nil && !r.stopped && len(r.spares) < maxSpares
	if keep {
		r.spares = append(r.spares, spare{b.conn, b.memo, time.Now()})
	}
	r.mu.Unlock()
	if !keep {
		r.close(b.conn)
	}
	return nil
}

// Spare gives a connection that has done its work here, with the memo of its Keep, or nil.
// It is usable as one that a pool has kept is.
func (r *Resolver) Spare(ctx context.Context) (conn driver.Conn, memo any) {
	for {
		r.mu.Lock()
		n := len(r.spares) - 1
		if n < 0 {
			r.mu.Unlock()
			return nil, nil
		}
		s := r.spares[n]
		r.spares = r.spares[:n]
		r.mu.Unlock()
		if time.Since(s.since) < spareTime && usable(ctx, s.conn) {
			return s.conn, s.memo
		}
		r.close(s.conn)
	}
}

// usable asks a connection as a pool does that takes it out.
func usable(ctx context.Context, c driver.Conn) bool {
	if v, ok := c.(driver.Validator); ok && !v.IsValid() {
		return false
	}
	if s, ok := c.(driver.SessionResetter); ok && s.ResetSession(ctx) != nil {
		return false
	}
	return true
}

// dropSpares closes those that nobody has wanted for a while, or all.
func (r *Resolver) dropSpares(all bool) {
	r.mu.Lock()
	var old []spare
	kept := r.spares[:0]
	for _, s := range r.spares {
		if all || time.Since(s.since) >= spareTime {
			old = append(old, s)
		} else {
			kept = append(kept, s)
		}
	}
	r.spares = kept
	r.mu.Unlock()
	for _, s := range old {
		r.close(s.conn)
	}
}
