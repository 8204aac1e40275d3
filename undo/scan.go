package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// scanLimit is how many XIDs one pass looks at. The next pass goes on behind.
const scanLimit = 1000

// Start begins to scan for leftovers, now and at every ScanInterval (rule P6). It
// may be called again, and after Stop, without effect.
func (r *Resolver) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.stopped {
		return
	}
	r.started = true
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.scanLoop(ctx)
}

// Stop ends the scan and waits for it. It may be called twice, and without Start.
func (r *Resolver) Stop() {
	r.mu.Lock()
	r.stopped = true
	started, cancel := r.started, r.cancel
	r.mu.Unlock()
	if started {
		cancel()
		<-r.done
	}
}

func (r *Resolver) scanLoop(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(r.cfg.ScanInterval)
	defer tick.Stop()
	told := ""
	for {
		_, errs := r.scan(ctx, true)
		if ctx.Err() != nil {
			return
		}
		// What is stuck has been told when it became so, and what else goes on says the
		// same at every pass: once is enough.
		err := errors.Join(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, gtx.ErrDirty) })...)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if err != nil {
			r.remember(err)
		}
		if text != told && text != "" {
			r.cfg.Logger.Warn("scan for leftovers", "err", err)
		}
		told = text
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Scan is one pass: it asks the coordinator for the fate of the XIDs that have a
// visible header or undo row, and resolves the decided ones. left counts those
// that it looked at and that are still there: undecided, not known to this
// coordinator, or not resolved, with the reasons in err.
func (r *Resolver) Scan(ctx context.Context) (left int, err error) {
	left, errs := r.scan(ctx, false)
	return left, errors.Join(errs...)
}

// paced lets stuck transactions rest between their tries.
func (r *Resolver) scan(ctx context.Context, paced bool) (left int, errs []error) {
	r.count.scans.Add(1)
	c := r.cfg.Coordinator()
	xids, err := r.leftovers(ctx)
	if err != nil || len(xids) == 0 {
		return 0, asList(err)
	}
	if c == nil {
		return len(xids), nil
	}
	id, err := r.resource(ctx)
	if err != nil {
		return len(xids), asList(err)
	}
	for i, text := range xids {
		if err := ctx.Err(); err != nil {
			return left + len(xids) - i, asList(err)
		}
		done, err := r.scanOne(ctx, c, id, text, paced)
		if !done {
			left++
		}
		if err != nil {
			errs = append(errs, err)
		}
		if errors.Is(err, gtx.ErrUnavailable) {
			left += len(xids) - i - 1 // the others would get the same silence
			break
		}
	}
	return left, errs
}

func asList(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// scanOne asks for one XID and acts on the answer. What it knows from the scan is
// only that something is there: Resolve reads in its own transaction (rule P5).
func (r *Resolver) scanOne(ctx context.Context, c gtx.Coordinator, id gtx.ResourceID, text string, paced bool) (done bool, err error) {
	xid, err := gtx.ParseXID(text)
	if err != nil {
		r.tellForeign(text, err)
		return false, nil
	}
	if paced && r.rests(xid) {
		return false, nil
	}
	status, err := c.Outcome(ctx, xid)
	switch {
	case errors.Is(err, gtx.ErrUnavailable):
		return false, fmt.Errorf("ask for the outcome of %s: %w", xid, err)
	case err != nil:
		// Another log's XID gets an error, never "aborted" (rule I1).
		r.tellForeign(text, err)
		return false, nil
	case status == gtx.Expired:
		// Everything that committed was acknowledged before it was forgotten, so
		// what is still here belongs to an aborted one (rule G4).
		status = gtx.Aborted
	case status != gtx.Committed && status != gtx.Aborted:
		return false, nil
	}
	if err := r.Resolve(ctx, gtx.Resolution{XID: xid, Status: status}); err != nil {
		return false, err
	}
	if err := c.Acknowledge(ctx, xid, id); err != nil {
		return true, fmt.Errorf("acknowledge %s: %w", xid, err)
	}
	return true, nil
}

// tellForeign logs once for each XID that it is left alone.
func (r *Resolver) tellForeign(xid string, err error) {
	r.mu.Lock()
	tell := !r.foreign[xid] && len(r.foreign) < scanLimit // more would only fill the log
	if tell {
		r.foreign[xid] = true
	}
	r.mu.Unlock()
	if tell {
		r.cfg.Logger.Warn("leave undo rows of a transaction alone", "xid", xid, "err", err)
	}
}

// leftoversOf are the queries for the first XIDs behind one, by dialect. What they
// cost must not grow with the undo rows of one XID, nor with the XIDs behind the
// limit: MySQL hops from XID to XID by itself, the others are made to.
var leftoversOf = map[string]string{
	"mysql":    fmt.Sprintf(firstXIDs, "", "SELECT DISTINCT xid FROM gtx_undo FORCE INDEX (gtx_undo_xid) WHERE xid > ? ORDER BY xid", scanLimit),
	"postgres": fmt.Sprintf(firstXIDs, hop, "SELECT xid FROM hop WHERE xid IS NOT NULL", scanLimit),
	"sqlite":   fmt.Sprintf(firstXIDs, hop, "SELECT xid FROM hop WHERE xid IS NOT NULL", scanLimit),
}

const (
	hop = "WITH RECURSIVE hop (xid) AS (SELECT (SELECT MIN(xid) FROM gtx_undo WHERE xid > ?) UNION ALL" +
		" SELECT (SELECT MIN(u.xid) FROM gtx_undo AS u WHERE u.xid > hop.xid) FROM hop WHERE hop.xid IS NOT NULL) "
	firstXIDs = "%[1]sSELECT xid FROM (%[2]s LIMIT %[3]d) AS u UNION SELECT xid FROM" +
		" (SELECT DISTINCT xid FROM gtx_branch WHERE xid > ? ORDER BY xid LIMIT %[3]d) AS b ORDER BY xid LIMIT %[3]d"
)

// leftovers gives the XIDs that are visible, at most scanLimit, those after the
// last pass's first. A plain read: it sees committed headers only.
func (r *Resolver) leftovers(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	after := r.cursor
	r.mu.Unlock()
	text := leftoversOf[r.cfg.Dialect.Name()]
	lines, err := QueryDB(r.cfg.DB)(ctx, r.text(text), after, after)
	if err == nil && len(lines) == 0 && after != "" {
		after = ""
		lines, err = QueryDB(r.cfg.DB)(ctx, r.text(text), after, after)
	}
	if err != nil {
		return nil, fmt.Errorf("scan for leftovers: %w", err)
	}
	xids := make([]string, len(lines))
	for i, l := range lines {
		xids[i] = l[0]
	}
	next := ""
	if len(xids) == scanLimit {
		next = xids[len(xids)-1]
	}
	r.mu.Lock()
	r.cursor = next
	r.mu.Unlock()
	r.pruneStuck(after, xids, next == "")
	return xids, nil
}
