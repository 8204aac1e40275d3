package pgsql

import (
	"errors"
	"fmt"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// do runs what returns no rows and must succeed.
func (br *branch) do(texts ...string) *branch {
	br.Helper()
	for _, text := range texts {
		got, err := br.capture(false, text)
		if err != nil {
			br.Fatalf("%s: %v", text, err)
		}
		if got.RowsAffected < 0 || got.LastInsertErr == nil || got.Rows != nil {
			br.Fatalf("%s: result %+v is not what lib/pq gives", text, got)
		}
	}
	return br
}

// fails runs what the server must refuse as it does on a bare connection.
func (br *branch) fails(state, text string) *branch {
	br.Helper()
	_, err := br.capture(false, text)
	if code, _ := server(err); code != state || !br.kept {
		br.Fatalf("%s: got %v (kept %v), want the server's %s, kept", text, err, br.kept, state)
	}
	return br
}

// Undo rows come and go with the statements around savepoints; the header stays
// (rule T1).
func TestSavepoints(t *testing.T) { onEach(t, testSavepoints) }

func testSavepoints(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	const (
		start = "1|10\n2|20"
		upd1  = "UPDATE acct SET n = n + 1 WHERE id = 1"
		ins3  = "INSERT INTO acct VALUES (3, 30)"
		del2  = "DELETE FROM acct WHERE id = 2"
	)
	tests := []struct {
		name  string
		steps []string
		table string // after the local commit
		undo  string
	}{
		{"nothing but a savepoint", []string{"SAVEPOINT a"}, start, ""},
		{"taken back", []string{"SAVEPOINT a", upd1, ins3, del2, "ROLLBACK TO a"}, start, ""},
		{"taken back to a savepoint that stays", []string{"SAVEPOINT a", upd1, "ROLLBACK TO SAVEPOINT a", ins3, "ROLLBACK TRANSACTION TO a", del2}, "1|10", "D"},
		{"released", []string{"SAVEPOINT a", upd1, "RELEASE a", ins3}, "1|11\n2|20\n3|30", "I\nU"},
		{"row before and inside", []string{upd1, "SAVEPOINT a", upd1, "ROLLBACK TO a"}, "1|11\n2|20", "U"},
		{"row before, inside and after", []string{upd1, `SAVEPOINT "A a";`, upd1, `ROLLBACK TO SAVEPOINT "A a"`, upd1, `RELEASE SAVEPOINT "A a"`}, "1|12\n2|20", "U"},
		{"row made before, deleted inside", []string{ins3, "SAVEPOINT a", "DELETE FROM acct WHERE id = 3", "ROLLBACK TO a"}, "1|10\n2|20\n3|30", "I"},
		{"row deleted before, made inside", []string{del2, "SAVEPOINT a", "INSERT INTO acct VALUES (2, 99)", "ROLLBACK TO a"}, "1|10", "D"},
		{"nested", []string{"SAVEPOINT a", upd1, "SAVEPOINT b", del2, "SAVEPOINT a", ins3, "ROLLBACK TO a", "ROLLBACK TO b"}, "1|11\n2|20", "U"},
		{"nested, all taken back", []string{"SAVEPOINT a", upd1, "SAVEPOINT b", del2, "RELEASE b", "ROLLBACK TO a"}, start, ""},
		{"same name twice", []string{"SAVEPOINT a", upd1, "SAVEPOINT a", del2, "ROLLBACK TO a", "RELEASE a", "ROLLBACK TO a"}, start, ""},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.T = t
			b.begin(uint64(n + 1)).do(tt.steps...).commit()
			b.want("SELECT id, n FROM acct ORDER BY id", tt.table)
			b.want("SELECT op FROM gtx_undo ORDER BY op", tt.undo)
			b.want("SELECT count(*) FROM gtx_branch", "1")
			b.undone(uint64(n + 1))
			b.want("SELECT id, n FROM acct ORDER BY id", start)
		})
	}
}

// After ROLLBACK TO the lock of the row is free for another XID (rule W2).
func TestSavepointFreesLocks(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10)")
	one := b.begin(1).do("SAVEPOINT a", "UPDATE acct SET n = 11", "ROLLBACK TO a")
	b.begin(2).exec(1, "UPDATE acct SET n = 12").commit()
	if _, err := one.capture(false, "UPDATE acct SET n = 13"); !errors.Is(err, gtx.ErrConflict) || one.kept {
		t.Errorf("got %v, want ErrConflict", err)
	}
	one.rollback()
	b.undone(2)
	b.want("SELECT n FROM acct", "10")
}

// The user's own error leaves nothing, and the transaction goes on from a
// savepoint as on a bare connection.
func TestUsersErrorKeepsTheTransaction(t *testing.T) { onEach(t, testUsersErrorKeepsTheTransaction) }

func testUsersErrorKeepsTheTransaction(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int CHECK (n < 100), ref int REFERENCES acct)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	errs := []struct{ state, text string }{
		{"23505", "INSERT INTO acct VALUES (3, 30), (1, 0)"},
		{"23514", "UPDATE acct SET n = n * 9"},
		{"22012", "UPDATE acct SET n = 1 / (id - 2)"},
		{"23503", "INSERT INTO acct VALUES (4, 40, 99)"},
		{"42703", "DELETE FROM acct WHERE nosuch = 1"},
		{"23505", "UPDATE acct SET id = 2 WHERE id = 1"},
		{"21000", "INSERT INTO acct VALUES (5, 1), (5, 2) ON CONFLICT (id) DO UPDATE SET n = 5"},
		{"23514", "INSERT INTO acct VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = 500"},
		{"3B001", "ROLLBACK TO nowhere"},
		{"3B001", "RELEASE nowhere"},
	}
	xid := uint64(0)
	for _, tt := range errs {
		t.Run(tt.text, func(t *testing.T) {
			b.T = t
			// First of all: the header is gone with the statement, and due again.
			xid++
			br := b.begin(xid).fails(tt.state, tt.text).fails("25P02", "UPDATE acct SET n = 1").fails("25P02", "SAVEPOINT late")
			br.rollback()
			b.want("SELECT count(*) FROM gtx_branch", "0")
			// With a savepoint in front.
			for _, end := range []string{"commit", "abort"} {
				xid++
				br := b.begin(xid).do("UPDATE acct SET n = n + 1 WHERE id = 1", "SAVEPOINT s").fails(tt.state, tt.text).
					do("ROLLBACK TO s", "INSERT INTO acct VALUES (3, 30)", "RELEASE s")
				if end == "commit" {
					br.commit()
					b.want("SELECT id, n FROM acct ORDER BY id", "1|11\n2|20\n3|30")
					b.want("SELECT op FROM gtx_undo ORDER BY op", "I\nU")
					b.undone(xid)
				} else {
					br.rollback()
				}
				b.want("SELECT id, n FROM acct ORDER BY id", "1|10\n2|20")
			}
			// The savepoint writes the header.
			xid++
			b.begin(xid).do("SAVEPOINT s").fails(tt.state, tt.text).do("ROLLBACK TO s", "DELETE FROM acct WHERE id = 2").commit()
			b.want("SELECT count(*) FROM gtx_branch", "1")
			b.undone(xid)
			b.want("SELECT id, n FROM acct ORDER BY id", "1|10\n2|20")
		})
	}
}

// An error about a table of this module is not the user's.
func TestOwnErrorIsNotKept(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10)")
	br := b.begin(1)
	b.run(fmt.Sprintf("INSERT INTO gtx_branch VALUES ('%s', %d, 1, 1, NULL, 0)", br.xid, br.id)) // a fence (rule P3)
	if _, err := br.capture(false, "UPDATE acct SET n = 11"); err == nil || br.kept {
		t.Errorf("second header: got %v, kept %v", err, br.kept)
	}
	br.rollback()
	br = b.begin(2)
	b.run("DROP TABLE gtx_undo")
	if _, err := br.capture(false, "UPDATE acct SET n = 11"); err == nil || br.kept {
		t.Errorf("no undo table: got %v, kept %v", err, br.kept)
	}
	br.rollback()
	b.want("SELECT n FROM acct", "10")
}
