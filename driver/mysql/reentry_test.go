package mysql

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// TestTransitions runs every line of the table at takeOver, within one local
// transaction and over several of the same global one, and undoes it (rule T4).
func TestTransitions(t *testing.T) {
	const (
		ins = "INSERT INTO a (id, v) VALUES (9, 1)"
		upd = "UPDATE a SET v = v + 1 WHERE id = 9"
		del = "DELETE FROM a WHERE id = 9"
	)
	for _, tc := range []struct {
		name   string
		exists bool // the row, before
		steps  []string
		op     string // of the undo row
	}{
		{"insert", false, []string{ins}, "I"},
		{"insert update", false, []string{ins, upd}, "I"},
		{"insert update update", false, []string{ins, upd, upd}, "I"},
		{"insert delete", false, []string{ins, del}, "I"},
		{"insert delete insert", false, []string{ins, del, ins}, "I"},
		{"insert delete insert update delete", false, []string{ins, del, ins, upd, del}, "I"},
		{"update", true, []string{upd}, "U"},
		{"update update", true, []string{upd, upd}, "U"},
		{"update delete", true, []string{upd, del}, "D"},
		{"update delete insert", true, []string{upd, del, ins}, "U"},
		{"update delete insert delete", true, []string{upd, del, ins, del}, "D"},
		{"delete", true, []string{del}, "D"},
		{"delete insert", true, []string{del, ins}, "U"},
		{"delete insert update", true, []string{del, ins, upd}, "U"},
		{"delete insert delete", true, []string{del, ins, del}, "D"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, d *database) {
				d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
				d.exec("INSERT INTO a VALUES (8, 80)")
				if tc.exists {
					d.exec("INSERT INTO a VALUES (9, 90)")
				}
				want := d.checksum("a")
				for _, each := range []bool{false, true} {
					xid := newXID()
					b := d.branch(xid)
					for i, text := range tc.steps {
						if each && i > 0 {
							b.commit()
							b = d.branch(xid)
						}
						b.must(1, text)
					}
					b.commit()
					if got := d.one("SELECT GROUP_CONCAT(op) FROM gtx_undo"); got != tc.op {
						t.Errorf("op %s, want %s", got, tc.op)
					}
					d.mustAbort(xid)
					if got := d.checksum("a"); got != want {
						t.Errorf("checksum %s, want %s", got, want)
					}
				}
			})
		})
	}
}

// Rule T4: a foreign write between two branches of one xid is found.
func TestForeignWriteBetweenBranches(t *testing.T) {
	for _, tc := range []struct{ name, first, foreign, second string }{
		{"update", "UPDATE a SET v = 2 WHERE id = 1", "UPDATE a SET v = 3 WHERE id = 1", "UPDATE a SET v = 4 WHERE id = 1"},
		{"delete", "UPDATE a SET v = 2 WHERE id = 1", "UPDATE a SET v = 3 WHERE id = 1", "DELETE FROM a WHERE id = 1"},
		{"inserted", "DELETE FROM a WHERE id = 1", "INSERT INTO a VALUES (1, 5)", "UPDATE a SET v = 4 WHERE id = 1"},
		{"inserted, delete", "DELETE FROM a WHERE id = 1", "INSERT INTO a VALUES (1, 5)", "DELETE FROM a WHERE id = 1"},
		{"deleted", "UPDATE a SET v = 2 WHERE id = 1", "DELETE FROM a WHERE id = 1", "INSERT INTO a VALUES (1, 9)"},
		{"changed table", "UPDATE a SET v = 2 WHERE id = 1", "ALTER TABLE a ADD COLUMN w INT", "UPDATE a SET v = 4 WHERE id = 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, d *database) {
				d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
				d.exec("INSERT INTO a VALUES (1, 1)")
				xid := newXID()
				b := d.branch(xid)
				b.must(1, tc.first)
				b.commit()
				d.exec(tc.foreign)
				b = d.branch(xid)
				if _, err := b.run(tc.second); !errors.Is(err, gtx.ErrDirty) {
					t.Errorf("got %v, want ErrDirty", err)
				}
			})
		})
	}
}

// Rule P3: a row that is not the after image is not overwritten.
func TestDirtyRestore(t *testing.T) {
	for _, tc := range []struct{ name, own, foreign string }{
		{"update", "UPDATE a SET v = 2 WHERE id = 1", "UPDATE a SET v = 3 WHERE id = 1"},
		{"update of a deleted row", "UPDATE a SET v = 2 WHERE id = 1", "DELETE FROM a WHERE id = 1"},
		{"delete", "DELETE FROM a WHERE id = 1", "INSERT INTO a VALUES (1, 3)"},
		{"insert", "INSERT INTO a VALUES (2, 2)", "UPDATE a SET v = 3 WHERE id = 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, d *database) {
				d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
				d.exec("INSERT INTO a VALUES (1, 1)")
				b := d.branch(newXID())
				b.must(1, tc.own)
				b.commit()
				d.exec(tc.foreign)
				want := d.checksum("a")
				if err := d.abort(b.xid); !errors.Is(err, gtx.ErrDirty) {
					t.Errorf("got %v, want ErrDirty", err)
				}
				if got := d.checksum("a"); got != want {
					t.Errorf("checksum %s, want %s: the foreign write was lost", got, want)
				}
				if got := d.one("SELECT COUNT(*) FROM gtx_undo"); got != "1" {
					t.Errorf("%s undo rows, want 1 (rule P8)", got)
				}
			})
		})
	}
}

// A row that equals the before image again needs nothing (rule P3.4).
func TestRestoredByHand(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a VALUES (1, 1),(2, 2)")
		b := d.branch(newXID())
		b.must(1, "UPDATE a SET v = 5 WHERE id = 1")
		b.must(1, "DELETE FROM a WHERE id = 2")
		b.must(1, "INSERT INTO a VALUES (3, 3)")
		b.commit()
		d.exec("UPDATE a SET v = 1 WHERE id = 1")
		d.exec("INSERT INTO a VALUES (2, 2)")
		d.exec("DELETE FROM a WHERE id = 3")
		d.mustAbort(b.xid)
	})
}

func TestConflict(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a VALUES (1, 1),(2, 2)")
		holder := d.branch(newXID())
		holder.must(1, "UPDATE a SET v = 5 WHERE id = 1")
		holder.must(1, "DELETE FROM a WHERE id = 2")
		holder.commit()
		for _, text := range []string{
			"UPDATE a SET v = 6 WHERE id = 1", "UPDATE a SET v = 6", "DELETE FROM a WHERE id = 1", "INSERT INTO a VALUES (2, 7)",
		} {
			b := d.branch(newXID())
			_, err := b.run(text)
			if !errors.Is(err, gtx.ErrConflict) || errors.Is(err, gtx.ErrDirty) {
				t.Errorf("%s: %v, want ErrConflict", text, err)
			}
			b.rollback()
		}
		d.mustAbort(holder.xid)
		b := d.branch(newXID())
		b.must(2, "UPDATE a SET v = 6")
		b.commit()
		d.mustAbort(b.xid)
	})
}

func TestLockTimeoutIsConflict(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a VALUES (1, 1)")
		b := d.branch(newXID())
		b.must(1, "UPDATE a SET v = 5")
		other := d.branch(newXID(), "SET innodb_lock_wait_timeout=1")
		if _, err := other.run("UPDATE a SET v = 6"); !errors.Is(err, gtx.ErrConflict) {
			t.Errorf("got %v, want ErrConflict", err)
		}
	})
}

// TestPhantom lets a foreign writer add rows that match while statements run:
// at READ COMMITTED some come between a capture and its change.
func TestPhantom(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT, w INT, KEY (v))")
		next := 100
		for _, text := range []string{"UPDATE a SET w = w + 1 WHERE v = 1", "DELETE FROM a WHERE v = 1"} {
			d.exec("INSERT INTO a VALUES (1, 1, 0),(2, 2, 0)")
			xid := newXID()
			for range 10 {
				stop, done := make(chan struct{}), make(chan error, 1)
				go func() {
					// Bounded: a scan would chase an endless writer.
					for range 100 {
						select {
						case <-stop:
							done <- nil
							return
						default:
						}
						next++
						if _, err := d.db.ExecContext(d.Context(), "INSERT INTO a VALUES (?, 1, 0)", next); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
				b := d.branchIn(sql.LevelReadCommitted, xid)
				_, err := b.run(text)
				close(stop)
				if werr := <-done; werr != nil {
					t.Fatal(werr)
				}
				if err != nil {
					t.Fatal(err)
				}
				b.commit()
			}
			// Every changed row has an image, so all changes disappear.
			d.mustAbort(xid)
			if got := d.one("SELECT COUNT(*) FROM a WHERE w <> 0"); got != "0" {
				t.Errorf("%s: %s changed rows had no image", text, got)
			}
			if got, want := d.one("SELECT COUNT(*) FROM a WHERE id > 100"), fmt.Sprint(next-100); got != want {
				t.Errorf("%s: %s of %s foreign rows are there", text, got, want)
			}
			d.exec("DELETE FROM a")
			next = 100
		}
	})
}

// TestPhantomExact puts a foreign row exactly between capture and change.
func TestPhantomExact(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT, w INT)")
		d.exec("CREATE TABLE g (id INT PRIMARY KEY)")
		d.exec("INSERT INTO a VALUES (1, 1, 0)")
		d.exec("INSERT INTO g VALUES (1)")
		// Another statement of the transaction waits in SET for a lock on g: by then
		// the capture is done.
		gate := d.branch(newXID())
		gate.plain("BEGIN")
		gate.plain("SELECT * FROM g FOR UPDATE")
		b := d.branchIn(sql.LevelReadCommitted, newXID())
		type answer struct {
			n   int64
			err error
		}
		got := make(chan answer, 1)
		go func() {
			out, err := b.run("UPDATE a SET w = (SELECT COUNT(*) FROM g WHERE id = 1 FOR UPDATE) WHERE v = 1")
			if err != nil {
				got <- answer{err: err}
				return
			}
			got <- answer{n: out.RowsAffected}
		}()
		d.awaitLockWait("g")
		d.exec("INSERT INTO a VALUES (2, 1, 0)")
		gate.commit()
		if a := <-got; a.err != nil || a.n != 1 {
			t.Fatalf("%d rows, %v, want 1", a.n, a.err)
		}
		b.commit()
		if got := d.one("SELECT GROUP_CONCAT(w ORDER BY id) FROM a"); got != "1,0" {
			t.Errorf("w = %s, want 1,0", got)
		}
		d.mustAbort(b.xid)
		if got := d.one("SELECT GROUP_CONCAT(w ORDER BY id) FROM a"); got != "0,0" {
			t.Errorf("w = %s, want 0,0", got)
		}
	})
}

// Rule W1: waiting for the data row, Lock does not hold the undo row.
func TestLockOrder(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (x INT, y VARCHAR(9), v INT, PRIMARY KEY (x, y))")
		d.exec("INSERT INTO a VALUES (1, 'k', 1),(2,'k',2)")
		b := d.branch(newXID())
		b.must(1, "UPDATE a SET v = 5 WHERE x = 1")
		b.commit()
		other := d.branch(newXID())
		other.plain("BEGIN")
		other.plain("SELECT * FROM a WHERE x = 1 FOR UPDATE")

		done := make(chan error, 1)
		go func() { done <- d.abort(b.xid) }()
		d.awaitLockWait("gtx_t")
		other.plain("SET innodb_lock_wait_timeout=1")
		other.plain("SELECT * FROM gtx_undo FOR UPDATE")
		other.plain("SELECT * FROM a WHERE x = 2 FOR UPDATE")
		other.rollback()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// awaitLockWait waits until a statement of this database that names text waits
// for a row lock. The server renews INNODB_TRX only after 100 ms without a reader.
func (d *database) awaitLockWait(text string) {
	d.Helper()
	deadline := time.After(30 * time.Second)
	for d.one("SELECT COUNT(*) FROM information_schema.INNODB_TRX JOIN information_schema.PROCESSLIST ON ID = trx_mysql_thread_id"+
		" WHERE trx_state = 'LOCK WAIT' AND DB = DATABASE() AND INFO LIKE ?", "%"+text+"%") == "0" {
		select {
		case <-time.After(150 * time.Millisecond):
		case <-deadline:
			d.Fatal("no statement waits for a lock")
		}
	}
}
