package proxy

import (
	"context"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
)

// lookAtOnce is how many key hashes one look asks for.
const lookAtOnce = 500

// look asks for undo rows of rows that this local transaction has locked. Another
// transaction's can only have been there before: it is found, or its
// transaction has ended.
func (r *reader) look(ctx context.Context, p *plan, found map[string]map[string]bool) error {
	for _, id := range p.whole {
		if err := r.lookFor(ctx, id, nil); err != nil {
			return err
		}
	}
	for id, set := range found {
		hashes := make([]string, 0, lookAtOnce)
		for hash := range set {
			if hashes = append(hashes, hash); len(hashes) == lookAtOnce {
				if err := r.lookFor(ctx, id, hashes); err != nil {
					return err
				}
				hashes = hashes[:0]
			}
		}
		if len(hashes) > 0 {
			if err := r.lookFor(ctx, id, hashes); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) lookFor(ctx context.Context, id string, hashes []string) error {
	lines, err := r.freshly(ctx, r.c.res.Dialect.HeldIn(id, r.own, hashes))
	if err != nil {
		return fmt.Errorf("look for undo rows of %s: %w", id, err)
	}
	if len(lines) == 0 {
		return nil
	}
	return conflict(id, lines[0][0])
}

// freshly runs a query that sees what has committed by now.
func (r *reader) freshly(ctx context.Context, text string) ([][]string, error) {
	if r.c.res.Dialect.SeesNow() {
		return r.c.query(ctx, text)
	}
	return r.c.res.Look(ctx, text)
}

func conflict(id, holder string) error {
	xid, err := gtx.ParseXID(holder)
	if err != nil {
		return fmt.Errorf("read holder of a row of %s: %w", id, err)
	}
	return &gtx.ConflictError{Holder: xid, Table: id}
}
