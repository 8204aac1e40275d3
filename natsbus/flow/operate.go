package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// ErrNotStuck is returned by Settle for a step of which no Undo has failed for good.
var ErrNotStuck = errors.New("flow: no Undo of the step has failed")

// Settle is for an operator who has done by hand what the Undo of a service was to do: the
// step counts as undone, and its Undo does not run any more. The sender hears of it when it
// asks again. Who and why is recorded in gtx_operator. db is the service's, d its dialect.
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
	if n == 0 {
		return ErrNotStuck
	}
	operator := map[string]string{"postgres": "public.", "sqlite": "main."}[d.Name()] + "gtx_operator"
	if _, err := s.exec(ctx, tx, "record the operator's action", "INSERT INTO "+operator+" (at, who, xid, tbl, keyh, action, reason) VALUES (?, ?, ?, 'gtx_flow_step', ?, 'settle-step', ?)",
		now(), who, id, service, reason); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("settle step: commit: %w", err)
	}
	return nil
}
