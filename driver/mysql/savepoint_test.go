package mysql

import (
	"errors"
	"testing"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
)

// TestKept lets the user's own statement fail in the first packet of a branch and
// in the middle, and goes on.
func TestKept(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, u INT UNIQUE, v INT, CHECK (v < 100))")
		d.exec("INSERT INTO a VALUES (1,1,1),(2,2,2),(3,3,3)")
		want := d.checksum("a")
		fails := []struct {
			text   string
			number uint16
		}{
			{"INSERT INTO a VALUES (9,9,9),(1,8,8)", 1062},
			{"INSERT INTO a VALUES (8,3,8)", 1062},
			{"UPDATE a SET u = 3 WHERE id < 3 ORDER BY id DESC", 1062},
			{"UPDATE a SET v = 1000", 0},
			{"UPDATE a SET nothing = 1", 1054},
			{"DELETE FROM a WHERE nothing = 1", 1054},
			{"DELETE FROM a WHERE id = (SELECT 1 UNION SELECT 2)", 1242},
			{"INSERT INTO a VALUES (5,(SELECT 1 UNION SELECT 2),1)", 1242},
		}
		for _, f := range fails {
			for _, commit := range []bool{true, false} {
				b := d.branch(newXID())
				fail := func() {
					t.Helper()
					_, err := b.run(f.text)
					my, ok := err.(*base.MySQLError) //nolint:errorlint // it must be the error itself
					if !ok || f.number != 0 && my.Number != f.number || !b.kept {
						t.Fatalf("%s: %v, kept %v", f.text, err, b.kept)
					}
				}
				fail()
				b.must(1, "UPDATE a SET v = v + 10 WHERE id = 1")
				fail()
				b.must(1, "INSERT INTO a VALUES (9,90,1)")
				b.must(1, "DELETE FROM a WHERE id = 2")
				fail()
				if got := d.one("SELECT COUNT(*) FROM a WHERE v > 10"); got != "0" {
					t.Fatal("committed too early:", got)
				}
				if !commit {
					b.rollback()
					if got := d.checksum("a"); got != want {
						t.Fatalf("%s: checksum %s, want %s", f.text, got, want)
					}
					continue
				}
				b.commit()
				if got := d.one("SELECT GROUP_CONCAT(id,':',u,':',v ORDER BY id) FROM a"); got != "1:1:11,3:3:3,9:90:1" {
					t.Fatalf("%s: %s", f.text, got)
				}
				if got := d.one("SELECT GROUP_CONCAT(op ORDER BY op) FROM gtx_undo"); got != "D,I,U" {
					t.Fatalf("%s: undo rows %s", f.text, got)
				}
				d.mustAbort(b.xid)
				if got := d.checksum("a"); got != want {
					t.Fatalf("%s: checksum %s, want %s", f.text, got, want)
				}
			}
		}
	})
}

// A conflict is not kept: locks stay until a full ROLLBACK (rule W2). Nor is what
// failed before the capture.
func TestNotKept(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a VALUES (1,1),(2,2)")
		holder := d.branch(newXID())
		holder.must(1, "UPDATE a SET v = 5 WHERE id = 1")
		holder.commit()
		b := d.branch(newXID())
		b.must(1, "UPDATE a SET v = 5 WHERE id = 2")
		if _, err := b.run("UPDATE a SET v = 6"); !errors.Is(err, gtx.ErrConflict) || b.kept {
			t.Errorf("%v, kept %v", err, b.kept)
		}
		b.rollback()

		again := d.branch(holder.xid)
		again.id = holder.id // its header is there
		if _, err := again.run("UPDATE a SET v = 6"); err == nil || again.kept {
			t.Errorf("%v, kept %v", err, again.kept)
		}
	})
}

// TestSavepoint: undo rows follow ROLLBACK TO, the header stays.
func TestSavepoint(t *testing.T) {
	for _, tc := range []struct {
		name  string
		steps []string
		want  string // after COMMIT
		ops   string // of the undo rows
	}{
		{
			"nothing left",
			[]string{"SAVEPOINT s", "UPDATE a SET v = 9", "ROLLBACK TO s"},
			"1:1,2:2", "",
		},
		{
			"same row before and after",
			[]string{"UPDATE a SET v = 5 WHERE id = 1", "SAVEPOINT s", "UPDATE a SET v = 6 WHERE id = 1", "ROLLBACK TO SAVEPOINT s", "UPDATE a SET v = v + 2 WHERE id = 1"},
			"1:7,2:2", "U",
		},
		{
			"deleted and back",
			[]string{"UPDATE a SET v = 5 WHERE id = 1", "SAVEPOINT `S p`", "DELETE FROM a", "INSERT INTO a VALUES (1, 8), (3, 3)", "ROLLBACK WORK TO `s P`", "DELETE FROM a WHERE id = 1"},
			"2:2", "D",
		},
		{
			"inserted",
			[]string{"SAVEPOINT s", "INSERT INTO a VALUES (3, 3)", "ROLLBACK TO s", "INSERT INTO a VALUES (3, 4)", "RELEASE SAVEPOINT s", "UPDATE a SET v = 5 WHERE id = 3"},
			"1:1,2:2,3:5", "I",
		},
		{
			"nested",
			[]string{
				"SAVEPOINT s", "UPDATE a SET v = 5 WHERE id = 1", "SAVEPOINT t", "UPDATE a SET v = 6", "SAVEPOINT s2", "DELETE FROM a",
				"ROLLBACK TO t", "DELETE FROM a WHERE id = 2", "ROLLBACK TO t", "INSERT INTO a VALUES (4, 4)",
			},
			"1:5,2:2,4:4", "I,U",
		},
		{
			"all of nested",
			[]string{"SAVEPOINT s", "UPDATE a SET v = 5 WHERE id = 1", "SAVEPOINT t", "DELETE FROM a", "ROLLBACK TO s", "UPDATE a SET v = 3 WHERE id = 2"},
			"1:1,2:3", "U",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, d *database) {
				d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
				d.exec("INSERT INTO a VALUES (1,1),(2,2)")
				want := d.checksum("a")
				b := d.branch(newXID())
				for _, text := range tc.steps {
					if _, err := b.run(text); err != nil {
						t.Fatalf("%s: %v", text, err)
					}
				}
				b.commit()
				if got := d.one("SELECT GROUP_CONCAT(id,':',v ORDER BY id) FROM a"); got != tc.want {
					t.Errorf("%s, want %s", got, tc.want)
				}
				if got := d.one("SELECT GROUP_CONCAT(op ORDER BY op) FROM gtx_undo"); got != tc.ops {
					t.Errorf("undo rows %s, want %s", got, tc.ops)
				}
				if got := d.one("SELECT COUNT(*) FROM gtx_branch"); got != "1" {
					t.Errorf("%s headers, want 1", got)
				}
				d.mustAbort(b.xid)
				if got := d.checksum("a"); got != want {
					t.Errorf("checksum %s, want %s", got, want)
				}
			})
		})
	}
}

func TestSavepointFails(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a VALUES (1,1)")
		b := d.branch(newXID())
		for _, text := range []string{"ROLLBACK TO nothing", "RELEASE SAVEPOINT nothing"} {
			_, err := b.run(text)
			my, ok := err.(*base.MySQLError) //nolint:errorlint // it must be the error itself
			if !ok || my.Number != 1305 || !b.kept || b.header {
				t.Errorf("%s: %v, kept %v", text, err, b.kept)
			}
			b.must(1, "UPDATE a SET v = v + 1")
		}
		for _, text := range []string{"SAVEPOINT gtx_s", "ROLLBACK TO `GTX_s`", "RELEASE SAVEPOINT gtx_s"} {
			var u *gtx.UnsupportedError
			if _, err := b.run(text); !errors.As(err, &u) || u.Code != "savepoint-name" {
				t.Errorf("%s: %v", text, err)
			}
		}
		b.commit()
		d.mustAbort(b.xid)
		if got := d.one("SELECT v FROM a"); got != "1" {
			t.Error(got)
		}
	})
}
