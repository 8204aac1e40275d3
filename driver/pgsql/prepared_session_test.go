package pgsql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
)

// must parses a text on the connection of the branch.
func (br *branch) must(text string) *proxy.Capture {
	br.Helper()
	r, err := br.request(text)
	if err != nil {
		br.Fatalf("%s: %v", text, err)
	}
	return r
}

// runs captures r several times, so that it is prepared.
func (br *branch) runs(r *proxy.Capture, args ...any) {
	br.Helper()
	for range 3 {
		if _, err := br.repeat(r, args...); err != nil {
			br.Fatalf("%s: %v", r.Stmt.Text, err)
		}
		br.header = true
		br.anew()
	}
}

// raw runs text as it is on the connection of the branch.
func (br *branch) raw(text string) {
	br.Helper()
	if err := exec(br.Context(), br.conn, text, nil); err != nil {
		br.Fatalf("%s: %v", text, err)
	}
}

// A wrong number of arguments is answered as the bare driver does, and a number
// that leaves no room for ours is no reason to fail the second time.
func TestPreparedArguments(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, n int)", "INSERT INTO x VALUES (1, 1)")
	br := b.begin(1)
	r := br.must("UPDATE x SET n = n + $1 WHERE id = $2 RETURNING n")
	for range 4 {
		for _, args := range [][]any{{1}, {1, 1, 1}, nil} {
			_, want := query(t.Context(), br.conn, r.Stmt.Text, named(args))
			br.anew()
			_, got := br.repeat(r, args...)
			br.anew()
			if want == nil || got == nil || message(got) != message(want) {
				t.Errorf("%d arguments: got %v, want %v", len(args), got, want)
			}
		}
		br.runs(r, 1, 1)
	}
	if n := br.prepared(); n != 1 {
		t.Errorf("%d prepared, want 1", n)
	}
	var in strings.Builder
	args := make([]any, maxArgs)
	for i := range args {
		fmt.Fprintf(&in, ",$%d", i+1)
		args[i] = i
	}
	r = br.must("UPDATE x SET n = 5 WHERE id IN (" + in.String()[1:] + ")")
	for range 2 {
		if got, err := br.repeat(r, args...); err != nil || got.RowsAffected != 1 {
			t.Fatalf("got %v, %v", got, err)
		}
		br.anew()
	}
}

// message is the text of an error without the place in a longer statement.
func message(err error) string {
	if code, text := server(err); code != "" {
		return code + " " + text
	}
	return err.Error()
}

// Where a pooler shares the sessions of the server out, a name may stand for what
// another client has prepared. That must not count.
func TestPreparedByAnother(t *testing.T) { onEach(t, testPreparedByAnother) }

func testPreparedByAnother(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, n int)", "CREATE TABLE y (id int PRIMARY KEY, n int)", "INSERT INTO x VALUES (1, 1)", "INSERT INTO y VALUES (1, 1)")
	br := b.begin(1)
	mine, other := br.must("UPDATE x SET n = n + $1 WHERE id = $2 RETURNING n"), br.must("UPDATE y SET n = n + $1 WHERE id = $2 RETURNING n")
	br.runs(mine, 1, 1)
	br.runs(other, 1, 1)
	buf, err := query(t.Context(), br.conn, "SELECT name, statement FROM pg_prepared_statements ORDER BY prepare_time", br.Passing(nil, false))
	if err != nil || len(buf.Lines) != 2 {
		t.Fatal(buf, err)
	}
	name := asText(buf.Lines[0][0])
	br.raw(fmt.Sprintf(`DEALLOCATE "%s"; PREPARE "%s" AS %s`, name, name, asText(buf.Lines[1][1])))
	if _, err := br.repeat(mine, 1, 1); !errors.Is(err, gtx.ErrConflict) || br.kept {
		t.Errorf("ran what another prepared: got %v, want ErrConflict", err)
	}
	br.header = true
	br.anew()
	br.runs(mine, 1, 1)
	if n := br.prepared(); n != 0 && b.carrier == "postgres" { // pgx keeps the other one
		t.Errorf("%d are prepared behind a pooler", n)
	}
	b.want("SELECT (SELECT n FROM x), (SELECT n FROM y)", "1|1")
	if b.carrier == "pgx" {
		return // its names are digests of the text, which holds a mark
	}
	// A name that is taken.
	br = b.begin(2)
	br.raw(`PREPARE "1" AS SELECT 1; PREPARE "2" AS SELECT 1; PREPARE "3" AS SELECT 1`)
	if _, err := br.repeat(mine, 1, 1); err != nil {
		t.Fatal(err)
	}
	br.anew()
	if _, err := br.repeat(mine, 1, 1); !errors.Is(err, gtx.ErrConflict) || br.kept {
		t.Errorf("a name that is taken: got %v, want ErrConflict", err)
	}
	br.header = true
	br.anew()
	br.runs(mine, 1, 1)
}

// Prepared statements are no part of the local transaction: in a failed one they
// can be dropped, and what ROLLBACK TO takes back are the rows.
func TestPreparedInSavepoints(t *testing.T) { onEach(t, testPreparedInSavepoints) }

func testPreparedInSavepoints(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, n int CHECK (n < 100))", "INSERT INTO x VALUES (1, 1), (2, 2)")
	br := b.begin(1)
	r := br.must("UPDATE x SET n = n + $1 WHERE id = $2 RETURNING n")
	br.raw("SAVEPOINT s")
	for i := range 3 { // prepared in what is rolled back
		got, err := br.repeat(r, 10, 1)
		if err != nil || len(got.Rows.(*proxy.Buffer).Lines) != 1 || got.Rows.(*proxy.Buffer).Lines[0][0] != int64(11) { //nolint:errcheck // that is what Capture gives
			t.Fatalf("run %d: %v, %v", i, got, err)
		}
		br.raw("ROLLBACK TO s")
		br.header = true
	}
	if _, err := br.repeat(r, 1, 2); err != nil {
		t.Fatal(err)
	}
	br.raw("SAVEPOINT t")
	if _, err := br.repeat(r, 100, 1); err == nil || !br.kept {
		t.Fatalf("got %v, want the check constraint", err)
	}
	one := *r
	one.Args, one.Header = named([]any{1, 1}), false
	for i := range 70 { // the failed transaction pushes the prepared statement out
		stmt := *r.Stmt
		one.Stmt = &stmt
		if _, err := br.repeat(&one, 1, 1); err == nil || !br.kept {
			t.Fatalf("statement %d in a failed transaction: %v", i, err)
		}
	}
	if _, _, seen := br.statements.Get(shapeOf(&one)); !seen {
		t.Error("the last text is not known")
	}
	br.raw("ROLLBACK TO t")
	if n := br.prepared(); n != 0 && b.carrier == "postgres" { // pgx drops those that have failed
		t.Errorf("%d prepared, want 0", n)
	}
	if _, err := br.repeat(r, 5, 1); err != nil {
		t.Fatal(err)
	}
	br.commit()
	b.want("SELECT n FROM x ORDER BY id", "6\n3")
	b.want("SELECT op, (before_img::x).id, (before_img::x).n FROM gtx_undo ORDER BY 2", "U|1|1\nU|2|2")
	b.undone(1)
	b.want("SELECT n FROM x ORDER BY id", "1\n2")
}

// A statement that waits for a lock ends by the timeout of the session or of the
// caller: the first leaves the session usable, the second does as lib/pq does.
func TestPreparedIsCancelled(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, n int)", "INSERT INTO x VALUES (1, 1)")
	br := b.begin(1)
	r := br.must("UPDATE x SET n = n + $1 WHERE id = $2 RETURNING n")
	br.runs(r, 1, 1)
	holder := b.begin(2).exec(1, "UPDATE x SET n = 7")
	br.raw("SET LOCAL statement_timeout = '30ms'")
	var state interface{ SQLState() string }
	if _, err := br.repeat(r, 1, 1); !errors.As(err, &state) || state.SQLState() != "57014" || !br.kept {
		t.Fatalf("got %v, want 57014", err)
	}
	br.header = true
	br.anew()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	one := *r
	one.XID, one.Branch, one.Header, one.Seq, one.Args, one.Statements = br.xid, br.id, true, 1, named([]any{1, 1}), &br.statements
	if _, err := br.Capture(ctx, br.conn, &one); err == nil {
		t.Fatal("a cancelled statement went well")
	}
	br.conn.Close()
	holder.rollback()
	b.want("SELECT n, (SELECT count(*) FROM gtx_undo) FROM x", "1|0")
}

// What is kept for a prepared statement has nothing of the run that prepared it.
func TestPreparedKeepsNoValues(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, n int)", "CREATE TABLE y (id int PRIMARY KEY, n int)", "INSERT INTO x VALUES (1, 1)")
	br := b.begin(1)
	for _, user := range []string{"UPDATE x SET n = n + $1 WHERE id = $2", "WITH u AS (UPDATE x SET n = $1 WHERE id = $2 RETURNING *) SELECT * FROM u"} {
		r := br.must(user)
		br.runs(r, 77, 1)
		one := *r
		one.Header = true
		_, extra, _ := br.statements.Get(shapeOf(&one))
		kept, ok := extra.(*text)
		if !ok {
			t.Fatalf("%s: %T is kept", user, extra)
		}
		for _, w := range kept.parts {
			if w.Args != nil || w.Statements != nil || !w.XID.IsZero() {
				t.Errorf("%s: kept %v", user, w.Capture)
			}
		}
	}
}
