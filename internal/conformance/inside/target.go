package inside

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	tg := &target{name: src.base, db: db, family: f}
	if tg.name, err = tg.identity(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if known, ok := s.targets[tg.name]; ok {
		if err := db.Close(); err != nil {
			return nil, err
		}
		tg = known
	}
	s.targets[tg.name] = tg
	src.tg = tg
	return tg, nil
}

func (tg *target) identity() (id string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	c, err := tg.conn(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.QueryRowContext(ctx, tg.self).Scan(&id); err != nil {
		return "", fmt.Errorf("read the database's identity: %w", err)
	}
	return id, nil
}

// conn connects by the base driver.
func (tg *target) conn(ctx context.Context) (*sql.Conn, error) {
	c, err := tg.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", tg.name, err)
	}
	if tg.patience == "" {
		return c, nil
	}
	if _, err := c.ExecContext(ctx, tg.patience); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare connection to %s: %w", tg.name, err), c.Close())
	}
	return c, nil
}

// gone tells of a SQLite database that the test has removed, as most do with their
// directory.
func (tg *target) gone() bool {
	file, ok := strings.CutPrefix(tg.name, "sqlite ")
	if !ok {
		return false
	}
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// ours are the tables of globaltx that hold rows of open transactions.
var ours = []string{"gtx_undo", "gtx_branch"}

// leftovers counts what phase two has not removed.
func (tg *target) leftovers(ctx context.Context) (int, error) { return tg.count(ctx, ours...) }

// count counts the rows of tables of ours. A table that is not there has none.
func (tg *target) count(ctx context.Context, tables ...string) (int, error) {
	c, err := tg.conn(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	n := 0
	for _, table := range tables {
		var k int
		err := c.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&k)
		if err != nil && !strings.Contains(err.Error(), table) { // "… gtx_undo does not exist"
			return n, fmt.Errorf("count rows of %s: %w", table, err)
		}
		n += k
	}
	return n, nil
}

// describe shows some of the leftovers.
func (tg *target) describe() string {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	c, err := tg.conn(ctx)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	var out []string
	for _, q := range []string{"SELECT xid, tbl, keyh, op FROM gtx_undo", "SELECT xid, branch, state, payload FROM gtx_branch"} {
		rows, err := tg.read(ctx, c, q)
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
	c, err := tg.conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for _, table := range ours {
		_, err := c.ExecContext(ctx, "DELETE FROM "+table)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
