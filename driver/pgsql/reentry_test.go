package pgsql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// Rule T4: every way a row can be changed again by the same XID, in the same
// branch and in a later one.
func TestSameRowAgain(t *testing.T) { onEach(t, testSameRowAgain) }

func testSameRowAgain(t *testing.T) {
	ins := "INSERT INTO acct (id, n) VALUES (7, 70)"
	upd := "UPDATE acct SET n = n + 1 WHERE id = "
	del := "DELETE FROM acct WHERE id = "
	ups := func(id string) string {
		return "INSERT INTO acct VALUES (" + id + ", 5) ON CONFLICT (id) DO UPDATE SET n = acct.n + excluded.n"
	}
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
		{"upsert I", []string{ups("7")}, "I", "true"},
		{"upsert I U", []string{ups("7"), ups("7")}, "I", "true"},
		{"I upsert", []string{ins, ups("7")}, "I", "true"},
		{"I D upsert", []string{ins, del + "7", ups("7")}, "I", "true"},
		{"upsert U", []string{ups("1")}, "U", "true"},
		{"U upsert D", []string{upd + "1", ups("1"), del + "1"}, "D", "false"},
		{"D upsert", []string{del + "1", ups("1")}, "U", "true"},
		{"D upsert upsert", []string{del + "1", ups("1"), ups("1")}, "U", "true"},
		{"upsert D", []string{ups("1"), del + "1"}, "D", "false"},
		{"upsert U joined", []string{ups("1"), "UPDATE acct SET n = a.id FROM acct a WHERE a.id = 2 AND acct.id = 1"}, "U", "true"},
		{"U U keeping the key", []string{upd + "1", "UPDATE acct SET id = 1, n = 0 WHERE id = 1"}, "U", "true"},
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
func TestUndoOrder(t *testing.T) { onEach(t, testUndoOrder) }

func testUndoOrder(t *testing.T) {
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

func TestDirty(t *testing.T) { onEach(t, testDirty) }

func testDirty(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	tests := []struct {
		name, first, foreign, second, heal string
	}{
		{"update", "UPDATE acct SET n = 11 WHERE id = 1", "UPDATE acct SET n = 99 WHERE id = 1", "UPDATE acct SET n = 12 WHERE id = 1", "UPDATE acct SET n = 11 WHERE id = 1"},
		{"delete", "UPDATE acct SET n = 11 WHERE id = 1", "UPDATE acct SET n = 99 WHERE id = 1", "DELETE FROM acct WHERE id = 1", "UPDATE acct SET n = 11 WHERE id = 1"},
		{"insert where a row vanished", "UPDATE acct SET n = 11 WHERE id = 1", "DELETE FROM acct WHERE id = 1", "INSERT INTO acct VALUES (1, 5)", "INSERT INTO acct VALUES (1, 11)"},
		{"update where a row came back", "DELETE FROM acct WHERE id = 1", "INSERT INTO acct VALUES (1, 99)", "UPDATE acct SET n = 12 WHERE id = 1", "DELETE FROM acct WHERE id = 1"},
		{"one of two rows", "UPDATE acct SET n = n + 1", "UPDATE acct SET n = 99 WHERE id = 2", "UPDATE acct SET n = n + 1", "UPDATE acct SET n = 21 WHERE id = 2"},
		{"upsert", "UPDATE acct SET n = 11 WHERE id = 1", "UPDATE acct SET n = 99 WHERE id = 1", "INSERT INTO acct VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = 12", "UPDATE acct SET n = 11 WHERE id = 1"},
		{"upsert where a row vanished", "UPDATE acct SET n = 11 WHERE id = 1", "DELETE FROM acct WHERE id = 1", "INSERT INTO acct VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = 12", "INSERT INTO acct VALUES (1, 11)"},
		{"joined update", "UPDATE acct SET n = 11 WHERE id = 1", "UPDATE acct SET n = 99 WHERE id = 1", "UPDATE acct SET n = 12 FROM acct a WHERE acct.id = 1", "UPDATE acct SET n = 11 WHERE id = 1"},
		{"moved key", "UPDATE acct SET n = 11 WHERE id = 1", "UPDATE acct SET n = 99 WHERE id = 1", "UPDATE acct SET id = 5 WHERE id = 1", "UPDATE acct SET n = 11 WHERE id = 1"},
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
func TestAlreadyRestored(t *testing.T) { onEach(t, testAlreadyRestored) }

func testAlreadyRestored(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	b.begin(1).exec(1, "UPDATE acct SET n = 11 WHERE id = 1").exec(1, "DELETE FROM acct WHERE id = 2").exec(1, "INSERT INTO acct VALUES (3, 30)").commit()
	b.run("UPDATE acct SET n = 10 WHERE id = 1", "INSERT INTO acct VALUES (2, 20)", "DELETE FROM acct WHERE id = 3")
	b.undone(1)
	b.want("SELECT * FROM acct ORDER BY id", "1|10\n2|20")
}

func TestConflict(t *testing.T) { onEach(t, testConflict) }

func testConflict(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)")
	b.begin(1).exec(1, "UPDATE acct SET n = 11 WHERE id = 1").exec(1, "DELETE FROM acct WHERE id = 2").exec(1, "INSERT INTO acct VALUES (3, 30)").commit()
	for _, text := range []string{
		"UPDATE acct SET n = 5 WHERE id = 1", "DELETE FROM acct WHERE id = 1", "UPDATE acct SET n = n",
		"INSERT INTO acct VALUES (2, 5)", "DELETE FROM acct WHERE id = 3",
		"UPDATE acct SET n = a.n FROM acct a WHERE a.id = acct.id", "DELETE FROM acct USING acct a WHERE a.id = 3",
		"INSERT INTO acct VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET n = 5", "INSERT INTO acct VALUES (2, 5) ON CONFLICT (id) DO UPDATE SET n = 5",
		"INSERT INTO acct VALUES (2, 5) ON CONFLICT DO NOTHING", "UPDATE acct SET id = 2 WHERE id = 3", "INSERT INTO acct SELECT 2, 1", "UPDATE acct SET n = 1 WHERE id = 1 RETURNING n",
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

// Rows that change their keys, over unused keys and those of rows met before.
func TestMovedKeys(t *testing.T) { onEach(t, testMovedKeys) }

func testMovedKeys(t *testing.T) {
	move := func(from, to int) string {
		return fmt.Sprintf("UPDATE acct SET id = %d, n = n + 1 WHERE id = %d", to, from)
	}
	tests := []struct {
		name  string
		steps []string
		undo  string // key of the image and op
	}{
		{"once", []string{move(1, 8)}, "1D8I"},
		{"there and back", []string{move(1, 8), move(8, 1)}, "1U8I"},
		{"on and on", []string{move(1, 8), move(8, 9), move(9, 10)}, "1D8I9I10I"},
		{"where another was", []string{"DELETE FROM acct WHERE id = 2", move(1, 2)}, "1D2U"},
		{"exchanged over a third", []string{move(3, 8), move(4, 3), move(8, 4)}, "3U4U8I"},
		{"new row", []string{"INSERT INTO acct VALUES (7, 70, 'seven')", move(7, 8)}, "7I8I"},
		{"changed before", []string{"UPDATE acct SET n = 0 WHERE id = 1", move(1, 8), "UPDATE acct SET n = 5 WHERE id = 8"}, "1D8I"},
		{"deleted after", []string{move(1, 8), "DELETE FROM acct WHERE id = 8"}, "1D8I"},
		{"another in its place", []string{move(3, 8), "INSERT INTO acct VALUES (3, 1, 'new')"}, "3U8I"},
		{"several", []string{"UPDATE acct SET id = id + 10 WHERE id < 3"}, "1D2D11I12I"},
	}
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int, name text UNIQUE)", "INSERT INTO acct VALUES (1, 10, 'one'), (2, 20, 'two'), (3, NULL, NULL), (4, 40, NULL)")
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
					br.do(step)
				}
				br.commit()
				b.want("SELECT string_agg((before_img::acct).id || op, '' ORDER BY (before_img::acct).id) FROM gtx_undo", tt.undo)
				b.undone(xid)
				b.want("SELECT * FROM acct ORDER BY id", "1|10|one\n2|20|two\n3||\n4|40|")
			})
		}
	}
	// Both keys are locks, and what stands under them is compared.
	b.T = t
	b.begin(100).do(move(1, 8)).commit()
	for _, text := range []string{"INSERT INTO acct VALUES (1, 0, NULL)", "UPDATE acct SET n = 0 WHERE id = 8", "UPDATE acct SET id = 1 WHERE id = 2"} {
		br := b.begin(101)
		if _, err := br.capture(false, text); !errors.Is(err, gtx.ErrConflict) {
			t.Errorf("%s: got %v, want ErrConflict", text, err)
		}
		br.rollback()
	}
	b.run("UPDATE acct SET n = 99 WHERE id = 8")
	if err := b.abort(100); !errors.Is(err, gtx.ErrDirty) {
		t.Errorf("abort over a foreign write: got %v, want ErrDirty", err)
	}
	b.run("UPDATE acct SET n = 11 WHERE id = 8", "INSERT INTO acct VALUES (1, 0, NULL)")
	if err := b.abort(100); !errors.Is(err, gtx.ErrDirty) {
		t.Errorf("abort over a foreign row: got %v, want ErrDirty", err)
	}
	b.run("DELETE FROM acct WHERE id = 1")
	b.undone(100)
	b.want("SELECT * FROM acct ORDER BY id", "1|10|one\n2|20|two\n3||\n4|40|")
}
