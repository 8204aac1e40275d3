package inside

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// source is how a suite has opened a database.
type source struct {
	base string                  // the base driver's name
	open func() (*sql.DB, error) // on the base driver
	tg   *target                 // nil until it is needed; protected by session.mu
}

// target is one database, however often and by whatever DSN it is opened.
type target struct {
	name string // identity, for messages
	db   *sql.DB
	family
}

// lookTime bounds one look at a whole database.
const lookTime = time.Minute

// target finds the database behind a source. s.mu is held.
func (s *session) target(src *source) (*target, error) {
	if src.tg != nil {
		return src.tg, nil
	}
	db, err := src.open()
	if err != nil {
		return nil, err
	}
	// None stays open: a suite may drop its database.
	db.SetMaxIdleConns(0)
	f, err := familyOf(src.base)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	id, err := f.identity(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	tg, ok := s.targets[id]
	if ok {
		if err := db.Close(); err != nil {
			return nil, err
		}
	} else {
		tg = &target{name: id, db: db, family: f}
		s.targets[id] = tg
	}
	src.tg = tg
	return tg, nil
}

// ours are the tables of globaltx that hold rows of open transactions.
var ours = []string{"gtx_undo", "gtx_branch"}

// leftovers counts what phase two has not removed. A table that is not there has none.
func (tg *target) leftovers(ctx context.Context) (int, error) {
	n := 0
	for _, table := range ours {
		var k int
		err := tg.db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&k)
		if err != nil && !strings.Contains(err.Error(), table) { // "… gtx_undo does not exist"
			return n, fmt.Errorf("count leftovers: %w", err)
		}
		n += k
	}
	return n, nil
}

// describe shows some of the leftovers.
func (tg *target) describe() string {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	var out []string
	for _, q := range []string{"SELECT xid, tbl, keyh, op FROM gtx_undo", "SELECT xid, branch, state, payload FROM gtx_branch"} {
		rows, err := tg.read(ctx, tg.db, q)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		for i, r := range rows {
			if i == 5 {
				out = append(out, fmt.Sprintf("and %d more", len(rows)-i))
				break
			}
			out = append(out, strings.Join(r, " "))
		}
	}
	return strings.Join(out, "; ")
}

func (tg *target) wipe() error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	var errs []error
	for _, table := range ours {
		_, err := tg.db.ExecContext(ctx, "DELETE FROM "+table)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
