package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// Rule T4: every way a row can be changed again by the same XID, in the same
// branch and in a later one.
func TestSameRowAgain(t *testing.T) {
	ins := "INSERT INTO acct (id, n) VALUES (7, 70)"
	upd := "UPDATE acct SET n = n + 1 WHERE id = "
	del := "DELETE FROM acct WHERE id = "
	tests := []struct {
		name  string
		steps []string
		op    string // in the undo row
		after string // whether there is an after image
	}{
		{"I", []string{ins}, "I", "true"},
		{"I U", []string{ins, upd + "7"}, "I", "true"},
		{"I D", []string{ins, del + "7"}, "I", "false"},
		{"I D I", []string{ins, del + "7", ins}, "I", "true"},
		{"I U D I U", []string{ins, upd + "7", del + "7", ins, upd + "7"}, "I", "true"},
		{"U", []string{upd + "1"}, "U", "true"},
		{"U U", []string{upd + "1", upd + "1"}, "U", "true"},
		{"U D", []string{upd + "1", del + "1"}, "D", "false"},
		{"U D I", []string{upd + "1", del + "1", strings.ReplaceAll(ins, "7", "1")}, "U", "true"},
		{"D", []string{del + "1"}, "D", "false"},
		{"D I", []string{del + "1", strings.ReplaceAll(ins, "7", "1")}, "U", "true"},
		{"D I U", []string{del + "1", strings.ReplaceAll(ins, "7", "1"), upd + "1"}, "U", "true"},
		{"D I D", []string{del + "1", strings.ReplaceAll(ins, "7", "1"), del + "1"}, "D", "false"},
		{"D I D I", []string{del + "1", strings.ReplaceAll(ins, "7", "1"), del + "1", strings.ReplaceAll(ins, "7", "1")}, "U", "true"},
	}
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	xid := uint64(0)
	for _, tt := range tests {
		for _, where := range []string{"one branch", "branch each"} {
			t.Run(tt.name+" "+where, func(t *testing.T) {
				b.T = t
				xid++
				br := b.begin(xid)
				for i, step := range tt.steps {
					if i > 0 && where == "branch each" {
						br.commit()
						br = b.begin(xid)
					}
					br.exec(1, step)
				}
				br.commit()
				b.want("SELECT op, after_img IS NOT NULL FROM gtx_undo", tt.op+"|"+tt.after)
				b.undone(xid)
				b.want("SELECT id, n FROM acct ORDER BY id", "1|10\n2|20")
			})
		}
	}
}

// The order of undo is that of the last change of rows that vanished, and of the
// first change of rows that were made.
func TestUndoOrder(t *testing.T) {
	ddl := []string{
		"CREATE TABLE p (id int PRIMARY KEY, n int)",
		"CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p)",
		"INSERT INTO p VALUES (1, 1)", "INSERT INTO c VALUES (1, 1)",
	}
	b := setup(t, ddl...)
	b.begin(1).exec(1, "UPDATE p SET n = 2 WHERE id = 1").exec(1, "DELETE FROM c").exec(1, "DELETE FROM p").commit()
	b.undone(1)
	b.begin(2).exec(1, "INSERT INTO p VALUES (2, 2)").exec(1, "INSERT INTO c VALUES (2, 2)").exec(1, "UPDATE p SET n = 3 WHERE id = 2").commit()
	b.undone(2)
	b.want("SELECT p.id, n, c.id FROM p JOIN c ON c.p = p.id", "1|1|1")
}

func TestDirty(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	tests := []struct {
		name, first, foreign, second, heal string
	}{
		{"update", "UPDATE acct SET n = 11 WHERE id = 1", "UPDATE acct SET n = 99 WHERE id = 1", "UPDATE acct SET n = 12 WHERE id = 1", "UPDATE acct SET n = 11 WHERE id = 1"},
		{"delete", "UPDATE acct SET n = 11 WHERE id = 1", "UPDATE acct SET n = 99 WHERE id = 1", "DELETE FROM acct WHERE id = 1", "UPDATE acct SET n = 11 WHERE id = 1"},
		{"insert where a row vanished", "UPDATE acct SET n = 11 WHERE id = 1", "DELETE FROM acct WHERE id = 1", "INSERT INTO acct VALUES (1, 5)", "INSERT INTO acct VALUES (1, 11)"},
		{"update where a row came back", "DELETE FROM acct WHERE id = 1", "INSERT INTO acct VALUES (1, 99)", "UPDATE acct SET n = 12 WHERE id = 1", "DELETE FROM acct WHERE id = 1"},
		{"one of two rows", "UPDATE acct SET n = n + 1", "UPDATE acct SET n = 99 WHERE id = 2", "UPDATE acct SET n = n + 1", "UPDATE acct SET n = 21 WHERE id = 2"},
		{"own insert", "INSERT INTO acct VALUES (3, 30)", "UPDATE acct SET n = 99 WHERE id = 3", "DELETE FROM acct WHERE id = 3", "UPDATE acct SET n = 30 WHERE id = 3"},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.T = t
			xid := uint64(n + 1)
			first := b.begin(xid)
			if _, err := first.capture(false, tt.first); err != nil {
				t.Fatal(err)
			}
			first.commit()
			b.run(tt.foreign)
			second := b.begin(xid)
			if _, err := second.capture(false, tt.second); !errors.Is(err, gtx.ErrDirty) || errors.Is(err, gtx.ErrConflict) {
				t.Errorf("second statement: got %v, want ErrDirty", err)
			}
			second.rollback()
			before := b.read("SELECT * FROM acct ORDER BY id")
			if err := b.abort(xid); !errors.Is(err, gtx.ErrDirty) { // rule P8
				t.Errorf("abort: got %v, want ErrDirty", err)
			}
			if diff := cmp.Diff(before, b.read("SELECT * FROM acct ORDER BY id")); diff != "" {
				t.Errorf("abort touched a dirty database: %s", diff)
			}
			b.run(tt.heal)
			b.undone(xid)
			b.want("SELECT * FROM acct ORDER BY id", "1|10\n2|20")
		})
	}
}

// A row that already is as before needs nothing (rule P3, step 4).
func TestAlreadyRestored(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	b.begin(1).exec(1, "UPDATE acct SET n = 11 WHERE id = 1").exec(1, "DELETE FROM acct WHERE id = 2").exec(1, "INSERT INTO acct VALUES (3, 30)").commit()
	b.run("UPDATE acct SET n = 10 WHERE id = 1", "INSERT INTO acct VALUES (2, 20)", "DELETE FROM acct WHERE id = 3")
	b.undone(1)
	b.want("SELECT * FROM acct ORDER BY id", "1|10\n2|20")
}

func TestConflict(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	b.begin(1).exec(1, "UPDATE acct SET n = 11 WHERE id = 1").exec(1, "DELETE FROM acct WHERE id = 2").exec(1, "INSERT INTO acct VALUES (3, 30)").commit()
	for _, text := range []string{
		"UPDATE acct SET n = 5 WHERE id = 1", "DELETE FROM acct WHERE id = 1", "UPDATE acct SET n = n",
		"INSERT INTO acct VALUES (2, 5)", "DELETE FROM acct WHERE id = 3", "UPDATE acct SET n = 1 WHERE id = 1 RETURNING n",
	} {
		br := b.begin(2)
		_, err := br.capture(strings.Contains(text, "RETURNING"), text)
		if !errors.Is(err, gtx.ErrConflict) || errors.Is(err, gtx.ErrDirty) {
			t.Errorf("%s: got %v, want ErrConflict", text, err)
		} else if !strings.Contains(err.Error(), xidOf(1).String()) || !strings.Contains(err.Error(), "acct") {
			t.Errorf("%s: %v does not name the holder and the table", text, err)
		}
		br.rollback()
	}
	b.want("SELECT count(*) FROM gtx_branch", "1")
	b.undone(1)
}
