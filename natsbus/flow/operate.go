package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// ErrNotStuck is returned by Settle where there is nothing to settle: at a service no Undo of
// the step has failed, at a sender the flow does not wait for the service to be undone.
var ErrNotStuck = errors.New("flow: nothing to settle")

// Settle is for an operator who has done by hand what the Undo of a service was to do. Who and
// why is recorded in gtx_operator. d is the dialect of db.
//
// Where db is the service's, the step counts as undone, and its Undo does not run any more;
// the sender hears of it when it asks again. Where db is the sender's, it waits no longer for
// a service that is gone for good: should the service come back, it undoes its step.
func Settle(ctx context.Context, db *sql.DB, d undo.Dialect, service, id, who, reason string) error {
	const maxWho, maxWhy = 190, 4000 // what gtx_operator takes
	switch {
	case who == "" || len(who) > maxWho:
		return fmt.Errorf("settle step: want who does it, in at most %d bytes", maxWho)
	case reason == "" || len(reason) > maxWhy:
		return fmt.Errorf("settle step: want a reason of at most %d bytes", maxWhy)
	}
	s := &store{db, d, namesOf(d.Name())}
	ctx = gtx.Detach(ctx)
	tx, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("settle step: %w", err)
	}
	defer tx.Rollback()
	n, err := s.exec(ctx, tx, "settle step", "UPDATE {step} SET state = ?, error = ?, at = ? WHERE consumer = ? AND flow = ? AND state = ? AND error <> ''",
		int(Undone), plain("by hand: "+reason), now(), service, id, int(Done))
	if err != nil {
		return err
	}
	table := "gtx_flow_step"
	if n == 0 {
		table = "gtx_flow_to"
		n, err = s.settleTo(ctx, tx, service, id, plain("by hand: "+reason))
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrNotStuck
	}
	operator := map[string]string{"postgres": "public.", "sqlite": "main."}[d.Name()] + "gtx_operator"
	if _, err := s.exec(ctx, tx, "record the operator's action", "INSERT INTO "+operator+" (at, who, xid, tbl, keyh, action, reason) VALUES (?, ?, ?, ?, ?, 'settle-step', ?)",
		now(), who, id, table, service, reason); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("settle step: commit: %w", err)
	}
	return nil
}

// settleTo settles at the sender, which then looks at once whether the flow has ended.
func (s *store) settleTo(ctx context.Context, tx *sql.Tx, service, id, why string) (int, error) {
	n, err := s.exec(ctx, tx, "settle flow", "UPDATE {flow} SET due = ? WHERE id = ? AND state = ?", now(), id, int(Undoing))
	if err != nil || n == 0 {
		return 0, err
	}
	return s.exec(ctx, tx, "settle flow", fmt.Sprintf("UPDATE {to} SET state = ?, error = ?, at = ? WHERE flow = ? AND name = ? AND state IN (%d, %d)", Waiting, Done),
		int(Undone), why, now(), id, service)
}
