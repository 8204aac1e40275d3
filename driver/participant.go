package driver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/xa"
)

// Participant names db as a participant of three-phase transactions:
//
//	gtx.Run(ctx, fn, gtx.WithMode(gtx.ThreePhase),
//		gtx.WithResources(driver.Participant(orders), driver.Participant(stock)))
//
// Its vote is no when the database cannot be reached, cannot prepare, has no room for one
// more prepared branch, is read-only, or is being drained (Drain).
func Participant(db *sql.DB) gtx.Participant { return participant{db} }

type participant struct{ db *sql.DB }

func (p participant) CanCommit(ctx context.Context, c gtx.Coordinator) (gtx.ResourceID, error) {
	s, err := preparedOf(p.db)
	if err != nil {
		return "", fmt.Errorf("ask a participant for its vote: %w", err)
	}
	id, err := s.enterWith(ctx, c)
	if err != nil {
		return "", fmt.Errorf("ask a participant for its vote: %w", err)
	}
	if err := s.prepared.CanCommit(ctx); err != nil {
		return "", fmt.Errorf("database %s: %w", id, err)
	}
	return xa.ResourceOf(id), nil
}

// Drain has db take part in no new three-phase transaction, or in them again: it votes no
// from now on. What runs goes on. It is for the time before a database, or this process,
// goes away.
func Drain(db *sql.DB, on bool) error {
	s, err := preparedOf(db)
	if err != nil {
		return fmt.Errorf("drain database: %w", err)
	}
	s.prepared.Drain(on)
	return nil
}

// Prepared tells what has become of the prepared branches that this process has ended, or
// has yet to end, on behalf of db. ok as in Stats.
func Prepared(db *sql.DB) (s xa.Stats, ok bool) {
	d, err := preparedOf(db)
	if err != nil {
		return xa.Stats{}, false
	}
	return d.prepared.Stats(), true
}

func preparedOf(db *sql.DB) (*service, error) {
	d, ok := db.Driver().(*counted)
	switch {
	case !ok:
		return nil, errors.New("it was not opened by a driver of this module")
	case d.phase2.refuse != nil:
		return nil, d.phase2.refuse
	case d.phase2.prepared == nil:
		return nil, &gtx.UnsupportedError{
			Code: "prepare", Reason: "the database cannot prepare a local transaction", Hint: "use mode AT for transactions that it takes part in",
		}
	}
	return d.phase2, nil
}
