package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// severalTexts are texts with several statements over the tables of formTables,
// by the letters of letters. What each returns, changes and fails with is that of
// the bare driver.
var severalTexts = []struct {
	servers, text string
	args          []any
	query         bool
	fails         bool
}{
	{servers: "smapq", text: "UPDATE stock SET n = 1 WHERE id = 1; DELETE FROM stock WHERE id > 2"},
	{servers: "smapq", text: "DELETE FROM stock WHERE id > 2; UPDATE stock SET n = 1 WHERE id = 1;"},
	{servers: "smapq", text: "UPDATE stock SET n = 1 WHERE id = 1; SELECT n FROM stock ORDER BY id"},
	{servers: "smapq", text: "SELECT n FROM stock WHERE id = 1; SELECT n FROM orders ORDER BY id"},
	{servers: "smapq", text: "INSERT INTO stock (id, name, n) VALUES (8, 'a', 8), (9, 'b', 9); UPDATE stock SET n = n + 1; UPDATE stock SET n = n + 1 WHERE id = 9"},
	{servers: "ma", text: "INSERT INTO counted (n) VALUES (1); INSERT INTO counted (n) VALUES (2), (3)"},
	{servers: "smapq", text: "UPDATE stock SET n = 5 WHERE id = 1; INSERT INTO stock (id, name, n) VALUES (2, 'twice', 1); DELETE FROM stock", fails: true},
	{servers: "smapq", text: "INSERT INTO stock (id, name, n) VALUES (2, 'twice', 1); DELETE FROM stock", fails: true},
	{servers: "smapq", text: "UPDATE stock SET n = 5 WHERE id = 1; SELECT n FROM nothing", fails: true},
	{servers: "ma", text: "UPDATE stock SET n = ? WHERE id = ?; DELETE FROM stock WHERE name = ?", args: []any{7, 1, "o'plum"}},
	{servers: "s", text: "UPDATE stock SET n = ? WHERE id = ?; UPDATE orders SET n = ? WHERE id <> ?", args: []any{7, 1}},
	{servers: "s", text: "UPDATE stock SET n = :n WHERE id = :id; DELETE FROM orders WHERE id = :id", args: []any{sql.Named("n", 7), sql.Named("id", 1)}},

	{servers: "smapq", text: "UPDATE stock SET n = 1 WHERE id = 1; SELECT id, name, n FROM stock ORDER BY id", query: true},
	{servers: "smapq", text: "SELECT n FROM stock ORDER BY id; UPDATE stock SET n = 1 WHERE id = 1; SELECT name FROM stock ORDER BY id", query: true},
	{servers: "smapq", text: "SELECT n FROM stock ORDER BY id; UPDATE stock SET n = 1 WHERE id = 1", query: true},
	{servers: "smapq", text: "SELECT n FROM stock ORDER BY id; SELECT name FROM stock WHERE id = 99; UPDATE stock SET n = 1 WHERE id = 1;\n", query: true},
	{servers: "smapq", text: "UPDATE stock SET n = 1 WHERE id = 1; DELETE FROM orders", query: true},
	{servers: "spq", text: "UPDATE stock SET n = n + 1 WHERE id < 3 RETURNING id, n; DELETE FROM orders RETURNING id, n", query: true},
	{servers: "spq", text: "DELETE FROM orders RETURNING id; DELETE FROM stock WHERE id = 99 RETURNING id; \n", query: true},
	{servers: "ma", text: "SELECT name FROM stock WHERE id = ?; UPDATE stock SET n = 3 WHERE id = ?; SELECT n FROM stock WHERE id = ?", args: []any{1, 1, 1}, query: true},
}

// severalDSN lets the base driver take several statements, with arguments.
func severalDSN(t *testing.T, s server) string {
	dsn := s.dsn(t)
	if s.driver != "gtx-mysql" {
		return dsn
	}
	mark := "?"
	if strings.Contains(dsn, "?") {
		mark = "&"
	}
	return dsn + mark + "multiStatements=true&interpolateParams=true"
}

// refill gives the tables of formTables their first rows again.
func refill(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, text := range []string{
		"DELETE FROM stock", "DELETE FROM orders", "DELETE FROM counted",
		"INSERT INTO stock (id, name, n) VALUES (1, 'apple', 10), (2, 'pear', NULL), (3, 'o''plum', -3), (4, '', 4)",
		"INSERT INTO orders (id, n) VALUES (1, 11), (2, 2), (7, 70)",
	} {
		mustExec(t, db, text)
	}
}

// execer is a *sql.DB or *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// severally runs a text and tells as text what it returned. Where it fails later
// than at once the error is that of reading.
func severally(ctx context.Context, db execer, text string, args []any, query bool) (string, error) {
	if !query {
		res, err := db.ExecContext(ctx, text, args...)
		if err != nil {
			return "", err
		}
		n, nerr := res.RowsAffected()
		id, iderr := res.LastInsertId()
		return fmt.Sprint(n, nerr, id, iderr), nil
	}
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	for more := true; more; more = rows.NextResultSet() {
		types, err := rows.ColumnTypes()
		if err != nil {
			return "", err
		}
		for _, c := range types {
			fmt.Fprint(&b, c.Name(), " ", c.DatabaseTypeName(), " ", c.ScanType(), "; ")
		}
		var lines []string
		for rows.Next() {
			values := make([]any, len(types))
			into := make([]any, len(types))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				return "", err
			}
			lines = append(lines, fmt.Sprint(values))
		}
		if strings.Contains(text, "RETURNING") { // in any order
			slices.Sort(lines)
		}
		fmt.Fprintln(&b, lines)
	}
	return b.String(), rows.Err()
}

// errorCode is what of an error does not name the database or a place in the text.
func errorCode(err error) string {
	if err == nil {
		return ""
	}
	return regexp.MustCompile(`^Error \d+|^SQL logic error|\(\w+\)$`).FindString(err.Error())
}

// TestSeveral: a text with several statements gives and does what it does on the
// bare driver, in a local transaction and without one, and an abort undoes it.
func TestSeveral(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		bus := embedded(t)
		db, twin := open(t, s, severalDSN(t, s)), open(t, s, severalDSN(t, s))
		formTables(t, s, db)
		formTables(t, s, twin)
		for _, inTx := range []bool{false, true} {
			for _, form := range severalTexts {
				if !strings.Contains(form.servers, letters[s.name]) || form.query && s.driver == "gtx-pgx" { // which the bare driver refuses
					continue
				}
				t.Run(fmt.Sprintf("%s/tx=%t/query=%t", form.text, inTx, form.query), func(t *testing.T) {
					refill(t, db)
					refill(t, twin)
					before := everything(t, db)
					run := func(ctx context.Context, d *sql.DB) (string, error) {
						if !inTx {
							return severally(ctx, d, form.text, form.args, form.query)
						}
						tx, err := d.BeginTx(ctx, nil)
						if err != nil {
							return "", err
						}
						out, err := severally(ctx, tx, form.text, form.args, form.query)
						if cerr := tx.Commit(); err == nil {
							err = cerr
						}
						return out, err
					}
					want, werr := run(t.Context(), twin)
					if (werr != nil) != form.fails {
						t.Fatalf("bare: %v", werr)
					}
					check := func(got string, err error) {
						t.Helper()
						if got != want || errorCode(err) != errorCode(werr) {
							t.Errorf("got %s (%v), bare %s (%v)", got, err, want, werr)
						}
					}
					err := bus.Run(t.Context(), func(ctx context.Context) error {
						check(run(ctx, db))
						return errChanged
					})
					if !errors.Is(err, errChanged) {
						t.Fatal(err)
					}
					clean(t, db)
					if got := everything(t, db); got != before {
						t.Errorf("after the abort\n%s, before\n%s", got, before)
					}
					if strings.Contains(form.text, "counted") {
						return // the numbers that the abort used are gone
					}
					err = bus.Run(t.Context(), func(ctx context.Context) error {
						check(run(ctx, db))
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
					if got, want := everything(t, db), everything(t, twin); got != want {
						t.Errorf("after the commit\n%s, bare\n%s", got, want)
					}
					clean(t, db)
				})
			}
		}
	})
}

// TestSeveralRefused: what cannot be protected as a whole does not run in part.
func TestSeveralRefused(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, severalDSN(t, s))
		formTables(t, s, db)
		mustExec(t, db, "CREATE TABLE keyless (n INT)")
		before := everything(t, db)
		for _, c := range []struct {
			text, code string
			args       []any
			servers    string
		}{
			{text: "DELETE FROM stock; COMMIT", code: "transaction-control"},
			{text: "BEGIN; DELETE FROM stock; COMMIT", code: "transaction-control"},
			{text: "DELETE FROM stock; CREATE TABLE more (n INT)", code: "ddl"},
			{text: "DELETE FROM stock; DROP TABLE orders", code: "ddl"},
			{text: "DELETE FROM stock; DELETE FROM keyless", code: "no-key"},
			{text: "DELETE FROM stock; DELETE FROM gtx_undo", code: "own-table"},
			{text: "SAVEPOINT a; DELETE FROM stock; RELEASE SAVEPOINT a", code: "several-statements"},
			{text: "DELETE FROM stock WHERE id = $1; DELETE FROM orders WHERE id = $1", args: []any{1}, code: "several-statements", servers: "pq"},
			{text: "DELETE FROM stock WHERE id = ?; DELETE FROM orders WHERE id = ?", args: []any{1}, code: "several-statements", servers: "ma"},
			{text: "DELETE FROM stock; SELECT n FROM orders FOR UPDATE", code: "several-statements", servers: "mapq"},
		} {
			if c.servers != "" && !strings.Contains(c.servers, letters[s.name]) {
				continue
			}
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, c.text, c.args...)
				return err
			})
			var u *gtx.UnsupportedError
			if !errors.As(err, &u) || u.Code != c.code {
				t.Errorf("%s: got %v, want code %s", c.text, err, c.code)
			}
			if got := everything(t, db); got != before {
				t.Fatalf("%s left\n%s", c.text, got)
			}
		}
	})
}

// TestSeveralNotAllowed: without multiStatements in the DSN the text is refused,
// as the server does for the bare driver.
func TestSeveralNotAllowed(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.driver != "gtx-mysql" {
			return
		}
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		const text = "DELETE FROM stock; DELETE FROM orders"
		if _, err := db.Exec(text); err == nil {
			t.Error("bare: no error")
		}
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, text)
			return err
		})
		var u *gtx.UnsupportedError
		if !errors.As(err, &u) || u.Code != "several-statements" || !strings.Contains(u.Hint, "multiStatements") {
			t.Errorf("got %v", err)
		}
		if got := strings.Count(everything(t, db), "\n"); got != 7 {
			t.Errorf("%d rows, want 7", got)
		}
	})
}

// TestSeveralWaits: who finds the row of the second statement held waits for its
// holder and runs the whole text again, also what it read.
func TestSeveralWaits(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.driver == "gtx-pgx" { // whose Query takes one statement
			return
		}
		bothEnds(t, func(t *testing.T, holder error) {
			bus := embedded(t)
			db := open(t, s, severalDSN(t, s))
			counter(t, db, 2)
			held, waited := make(chan struct{}), make(chan []int)
			go func() {
				<-held
				var seen []int
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					seen = nil
					rows, err := db.QueryContext(ctx, "UPDATE counters SET n = n + 10 WHERE id = 1; SELECT n FROM counters WHERE id = 1; UPDATE counters SET n = n + 10 WHERE id = 0; SELECT n FROM counters WHERE id = 0")
					if err != nil {
						return err
					}
					defer rows.Close()
					for more := true; more; more = rows.NextResultSet() {
						for rows.Next() {
							var n int
							if err := rows.Scan(&n); err != nil {
								return err
							}
							seen = append(seen, n)
						}
					}
					return rows.Err()
				})
				if err != nil {
					t.Error(err)
				}
				waited <- seen
			}()
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				if err := count(ctx, db, 0); err != nil {
					return err
				}
				close(held)
				return holder
			})
			if !errors.Is(err, holder) {
				t.Fatal(err)
			}
			want := []int{10, 11}
			if holder != nil {
				want[1] = 10
			}
			if s.name == "sqlite" {
				want = want[1:] // its driver shows the last result only
			}
			if got := <-waited; !slices.Equal(got, want) {
				t.Errorf("saw %v, want %v", got, want)
			}
			if n := counted(t, db, 1); n != 10 {
				t.Errorf("the first statement counted %d, want 10", n)
			}
		})
	})
}

// bothEnds runs a test with a holder that commits and with one that aborts.
func bothEnds(t *testing.T, test func(t *testing.T, holder error)) {
	t.Run("commit", func(t *testing.T) { test(t, nil) })
	t.Run("abort", func(t *testing.T) { test(t, errChanged) })
}

// TestSeveralPrepared: the text of a prepared statement, where that can be.
func TestSeveralPrepared(t *testing.T) {
	bus := embedded(t)
	s := servers()[0]
	db := open(t, s, s.dsn(t))
	formTables(t, s, db)
	before := everything(t, db)
	st, err := db.Prepare("UPDATE stock SET n = ? WHERE id = 1; DELETE FROM orders WHERE n > ?")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	err = bus.Run(t.Context(), func(ctx context.Context) error {
		res, err := st.ExecContext(ctx, 5)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n != 2 || err != nil {
			t.Errorf("%d rows affected (%v), want 2", n, err)
		}
		return errChanged
	})
	if !errors.Is(err, errChanged) {
		t.Fatal(err)
	}
	clean(t, db)
	if got := everything(t, db); got != before {
		t.Errorf("after the abort\n%s, before\n%s", got, before)
	}
}
