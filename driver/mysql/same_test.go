package mysql

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// sameCase is a statement that must do what it does on the bare driver.
type sameCase struct {
	text string
	args []any
	// before runs in an earlier branch of the same global transaction, so that
	// rows are met again (rule T4).
	before string
	// free: the statement changes no row that is there.
	free bool
	// only names the server that knows the statement.
	only string
}

// fixture is tables and their rows; hold changes every row.
type fixture struct {
	make   []string
	fill   []string
	tables []string
	hold   []string
}

func (f *fixture) reset(d *database) {
	d.Helper()
	d.exec("DELETE FROM gtx_undo")
	d.exec("DELETE FROM gtx_branch")
	for i := len(f.tables) - 1; i >= 0; i-- {
		d.exec("TRUNCATE TABLE " + f.tables[i])
	}
	for _, text := range f.fill {
		d.exec(text)
	}
}

func (f *fixture) sums(d *database) string {
	d.Helper()
	var all []string
	for _, t := range f.tables {
		all = append(all, d.checksum(t))
	}
	return strings.Join(all, " ")
}

// same runs every case on the bare driver and captured, with and without
// clientFoundRows, and compares results and tables; then it aborts, and the
// tables are as they were. At last another transaction holds all rows.
func same(t *testing.T, f *fixture, cases []sameCase) {
	t.Helper()
	onEach(t, func(t *testing.T, d *database) {
		for _, text := range f.make {
			d.exec(text)
		}
		found := d.cfg.Clone()
		found.ClientFoundRows = true
		matched := pool(t, found) // not d.two, whose sessions are made for restoring
		for _, tc := range cases {
			if tc.only != "" && !strings.HasSuffix(t.Name(), "/"+tc.only) {
				continue
			}
			t.Run(tc.text, func(t *testing.T) {
				for _, db := range []*sql.DB{d.db, matched} {
					d := *d
					d.T, d.db = t, db
					f.compare(&d, tc)
				}
				if !tc.free {
					d := *d
					d.T = t
					f.conflict(&d, tc)
				}
			})
		}
	})
}

func (f *fixture) compare(d *database, tc sameCase) {
	d.Helper()
	f.reset(d)
	before := f.sums(d)
	c, err := d.db.Conn(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	if tc.before != "" {
		d.exec(tc.before)
	}
	res, err := c.ExecContext(d.Context(), tc.text, tc.args...)
	if err != nil {
		d.Fatalf("bare: %v", err)
	}
	rows, _ := res.RowsAffected()
	id, _ := res.LastInsertId()
	want := f.sums(d)
	_ = c.Raw(func(any) error { return driver.ErrBadConn })

	f.reset(d)
	xid := newXID()
	if tc.before != "" {
		b := d.branch(xid)
		if _, err := b.run(tc.before); err != nil {
			d.Fatal(err)
		}
		b.commit()
	}
	b := d.branch(xid)
	out, err := b.run(tc.text, tc.args...)
	if err != nil {
		d.Fatalf("captured: %v", err)
	}
	b.commit()
	if out.RowsAffected != rows || out.LastInsertID != id {
		d.Errorf("%d rows, insert id %d; the bare driver says %d, %d", out.RowsAffected, out.LastInsertID, rows, id)
	}
	if got := f.sums(d); got != want {
		d.Errorf("checksums %s, bare %s", got, want)
	}
	d.mustAbort(xid)
	if got := f.sums(d); got != before {
		d.Errorf("checksums %s after abort, want %s", got, before)
	}
}

func (f *fixture) conflict(d *database, tc sameCase) {
	d.Helper()
	f.reset(d)
	before := f.sums(d)
	holder := d.branch(newXID())
	for _, text := range f.hold {
		if _, err := holder.run(text); err != nil {
			d.Fatal(err)
		}
	}
	holder.commit()
	b := d.branch(newXID())
	_, err := b.run(tc.text, tc.args...)
	var held *gtx.ConflictError
	if !errors.As(err, &held) || held.Holder != holder.xid || b.kept {
		d.Errorf("%v, want a conflict with %s", err, holder.xid)
	}
	b.rollback()
	d.mustAbort(holder.xid)
	if got := f.sums(d); got != before {
		d.Errorf("checksums %s after abort, want %s", got, before)
	}
}
