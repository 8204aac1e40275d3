package pgsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver/internal/pgxbase"
	"github.com/globaltx/globaltx/driver/internal/pqbase"
	"github.com/globaltx/globaltx/gtx"
)

// TestPlaces: every form copies pieces of the user's text, and knows where they come
// from. Positions in all the rest are told to nobody.
func TestPlaces(t *testing.T) {
	onEach(t, func(t *testing.T) {
		b := setup(t, "CREATE TABLE item (id bigint PRIMARY KEY, n bigint, s text)", "CREATE TABLE other (id bigint PRIMARY KEY, n bigint)")
		forms := []string{
			"INSERT INTO item (id, s) VALUES (1, 'ä'), (2, $1) RETURNING id, 'ß' AS s",
			"INSERT INTO item AS i DEFAULT VALUES",
			"INSERT INTO item SELECT id, n, 'ä' FROM other -- end",
			"INSERT INTO item (id, s) VALUES (1, 'ä') ON CONFLICT DO NOTHING",
			"INSERT INTO item (id, s) VALUES (1, 'ä') ON CONFLICT (id) DO UPDATE SET s = 'ö' WHERE item.s = 'ä' RETURNING *",
			"UPDATE ONLY item AS ä SET s = 'ü', n = ä.n + 1 where ä.s = 'ß' RETURNING ä.id",
			"UPDATE item SET id = id + 1, s = 'ü'",
			"UPDATE item SET s = 'ä' FROM other AS o WHERE o.id = item.id",
			"UPDATE item SET id = o.n FROM other AS o WHERE o.id = item.id",
			"DELETE FROM item USING other AS o WHERE o.id = item.id AND s = 'ä' RETURNING o.n",
			"WITH RECURSIVE ä AS (SELECT id FROM other), b AS (DELETE FROM other WHERE n = 1 RETURNING id) UPDATE item SET n = 1 WHERE id IN (SELECT id FROM b)",
			"WITH b AS (INSERT INTO other (id) VALUES (1) RETURNING id) SELECT 'ä', id FROM b",
		}
		if modern(t) {
			forms = append(forms, "UPDATE item SET s = 'ü' RETURNING WITH (OLD AS o) o.s, 'ß'",
				"MERGE INTO item AS i USING other AS o ON o.id = i.id WHEN MATCHED THEN UPDATE SET s = 'ä' WHEN NOT MATCHED THEN INSERT (id) VALUES (o.id)")
		}
		for _, text := range forms {
			for _, prepared := range []bool{true, false} {
				r, err := b.parse(text)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				r.Header, r.XID = !prepared, xidOf(1)
				v := literals(r)
				if prepared {
					v = arguments(1)
				}
				sent, err := build(r, v)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				origins := sent.origins(r)
				checkPlaces(t, text, sent.sql, func(position int) int {
					return b.positionOf(b.Relocate(b.errorAt(position), sent.sql, text, origins))
				})
			}
		}
	})
}

// errorAt is one of the base driver.
func (b *bench) errorAt(position int) error {
	if b.carrier == "pgx" {
		return &pgconn.PgError{Position: int32(position)}
	}
	return &pq.Error{Position: strconv.Itoa(position)}
}

// positionOf is what an error of the base driver tells, 0 for nothing.
func (b *bench) positionOf(err error) int {
	b.Helper()
	if e := new(pgconn.PgError); errors.As(err, &e) {
		return int(e.Position)
	}
	e := new(pq.Error)
	if !errors.As(err, &e) {
		b.Fatalf("%v is not of the base driver", err)
	}
	n, err := strconv.Atoi(e.Position)
	if err != nil && e.Position != "" {
		b.Fatal(err)
	}
	return n
}

// checkPlaces tries every character of a captured statement: it must be the one of the
// user's that it is said to be.
func checkPlaces(t *testing.T, user, sent string, at func(position int) int) {
	t.Helper()
	from, told := []rune(user), map[int]bool{}
	for i, c := range []rune(sent) {
		n := at(i + 1)
		if n == 0 {
			continue
		}
		if n < 1 || n > len(from) || from[n-1] != c {
			t.Fatalf("%s: %q, character %d of\n%s\nis said to be character %d of the user's", user, c, i+1, sent, n)
		}
		told[n] = true
	}
	for i, c := range from {
		if c > unicode.MaxASCII && !told[i+1] {
			t.Errorf("%s: character %d, %q, is never told, in\n%s", user, i+1, c, sent)
		}
	}
	if n := at(len([]rune(sent)) + 1); n != 0 {
		t.Errorf("%s: the end is said to be at %d", user, n)
	}
}

// TestPlaceInKept: a statement that is kept prepared, and that the server parses again
// because a table was changed, has its places, too.
func TestPlaceInKept(t *testing.T) {
	onEach(t, func(t *testing.T) {
		b := setup(t, "CREATE TABLE item (id bigint PRIMARY KEY, s text)", "CREATE TABLE other (n bigint)", "INSERT INTO item VALUES (1, 'a')")
		const user = "UPDATE item SET s = $1 WHERE 'ä' <> '' OR id IN (SELECT n FROM other)"
		br := b.begin(1)
		r, err := br.parse(user)
		if err != nil {
			t.Fatal(err)
		}
		r.Statements, r.Header, r.Args = &br.statements, true, named([]any{"b"})
		run := func() error {
			r.XID, r.Branch, r.Seq = br.xid, gtx.NewBranchID(), r.Seq+1
			_, err := br.Capture(t.Context(), br.conn, r)
			return err
		}
		for range 3 {
			if err := run(); err != nil {
				t.Fatal(err)
			}
			br.commit()
			if br.tx, err = br.conn.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if stmt, extra, _ := br.statements.Get(shapeOf(r)); stmt == nil && extra == nil {
			t.Fatal("nothing is kept")
		}
		b.run("ALTER TABLE other RENAME n TO m")
		err = run()
		if at := strings.Index(user, "n FROM"); b.positionOf(err) != at || !r.Kept { // a byte more, and counted from 1
			t.Errorf("got %v at %d, want %d; kept %t", err, b.positionOf(err), at, r.Kept)
		}
		br.rollback()
		b.undone(1)
	})
}

// TestRelocateWrapped: an error behind others is found with its new place, and those
// in front of it are still there.
func TestRelocateWrapped(t *testing.T) {
	for name, c := range map[string]struct {
		base Base
		err  error
		at   func(error) string
	}{
		"pq": {pqbase.Base(), &pq.Error{Position: "7"}, func(err error) string {
			var e *pq.Error
			errors.As(err, &e)
			return e.Position
		}},
		"pgx": {new(pgxbase.Mode).Base(), &pgconn.PgError{Position: 7}, func(err error) string {
			var e *pgconn.PgError
			errors.As(err, &e)
			return strconv.Itoa(int(e.Position))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := Dialect{base: c.base}
			place := func(offset int) int { return offset - 4 }
			wrapped := fmt.Errorf("by a hook: %w", c.err)
			for _, err := range []error{c.err, wrapped} {
				got := d.Relocate(err, "ääääääääää", "öööö", place)
				if at := c.at(got); at != "5" { // 12 bytes, less 4, are four characters
					t.Errorf("%v is at %s", got, at)
				}
				if c.at(err) != "7" {
					t.Errorf("%v was changed", err)
				}
				if got.Error() != err.Error() || errors.Is(got, wrapped) != (err == wrapped) { //nolint:errorlint // this one itself
					t.Errorf("%v became %v", err, got)
				}
			}
			for _, err := range []error{nil, io.EOF, context.Canceled} {
				if got := d.Relocate(err, "a", "b", place); got != err { //nolint:errorlint // this one itself
					t.Errorf("%v became %v", err, got)
				}
			}
		})
	}
}
