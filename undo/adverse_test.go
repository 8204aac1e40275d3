package undo_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var errNo = errors.New("no")

// begun runs statements in a global transaction, each committed locally at once,
// and fn while nobody has decided it. It ends aborted.
func (s *stage) begun(texts []string, fn func(xid gtx.XID)) {
	s.Helper()
	db, err := sql.Open("gtx-"+s.name, s.dsn)
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	err = s.bus.Run(s.Context(), func(ctx context.Context) error {
		for _, text := range texts {
			if _, err := db.ExecContext(ctx, text); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
		tx, _ := gtx.FromContext(ctx)
		fn(tx.XID())
		return errNo
	}, gtx.WithRetries(0))
	if !errors.Is(err, errNo) {
		s.Fatal(err)
	}
}

// more makes things up to id n.
func (s *stage) more(n int) {
	s.Helper()
	for i := 5; i <= n; i++ {
		s.exec(fmt.Sprintf("INSERT INTO thing VALUES (%d, 1, 'more')", i))
	}
}

// TestKeyOfAnotherCollation: in SQLite the index of the primary key may hold for
// different what the column holds for equal.
func TestKeyOfAnotherCollation(t *testing.T) {
	for _, key := range []string{"w COLLATE BINARY", "w COLLATE BINARY, n", "n, w COLLATE BINARY"} {
		h := setup(t, "CREATE TABLE word (w TEXT COLLATE NOCASE, n INTEGER, v INTEGER, PRIMARY KEY ("+key+"))",
			"INSERT INTO word VALUES ('a', 1, 1), ('b', 1, 2), ('B', 1, 3)")
		xid := h.xid()
		h.branch(xid, "INSERT INTO word VALUES ('A', 1, 9)")
		if err := h.resolve(xid, gtx.Aborted); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		h.nothingLeft()
		if got := h.rows("SELECT w, v FROM word ORDER BY v"); got != "[[a 1] [b 2] [B 3]]" {
			t.Errorf("%s: %s", key, got)
		}
	}
}

// TestOthersAreNotWaitedFor: phase two deletes undo rows by their key, and never
// meets the one that another local transaction has just written.
func TestOthersAreNotWaitedFor(t *testing.T) {
	onStages(t, func(s *stage) {
		if s.name == "sqlite" {
			return // one writer at a time
		}
		s.more(60)
		texts := []string{"UPDATE thing SET n = 0 WHERE id <> 4"}
		for range 20 {
			texts = append(texts, "UPDATE thing SET n = n + 1 WHERE id = 1")
		}
		s.begun(texts, func(xid gtx.XID) {
			db, err := sql.Open("gtx-"+s.name, s.dsn)
			if err != nil {
				s.Error(err)
				return
			}
			defer db.Close()
			if s.name == "mysql" {
				s.exec("ANALYZE TABLE gtx_undo, gtx_branch")
			}
			err = s.bus.Run(s.Context(), func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer tx.Rollback()
				if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = 44 WHERE id = 4"); err != nil {
					return err
				}
				if err := s.res.Resolve(ctx, gtx.Resolution{XID: xid, Status: gtx.Aborted}); err != nil {
					s.Error(err)
				}
				return tx.Commit()
			}, gtx.WithRetries(0))
			if err != nil {
				s.Error(err)
			}
		})
		if got := s.rows("SELECT id, n FROM thing WHERE n <> 1 OR id < 4 ORDER BY id"); got != "[[1 10] [2 20] [3 30] [4 44]]" {
			s.Error(got)
		}
	})
}

// TestConflictThatRollsBack: a table of SQLite may end the whole transaction at a
// conflict. Phase two has to learn which row is refused.
func TestConflictThatRollsBack(t *testing.T) {
	for _, how := range []string{"ROLLBACK", "FAIL"} {
		h := setup(t, "CREATE TABLE seat (id INTEGER PRIMARY KEY, pos INTEGER UNIQUE ON CONFLICT "+how+")",
			"INSERT INTO seat VALUES (1, 1), (2, 2), (3, 3), (4, 4)")
		one, two := h.xid(), h.xid()
		h.branch(one, "UPDATE seat SET pos = pos + 100 WHERE id < 3", "DELETE FROM seat WHERE id = 3")
		h.plain("INSERT INTO seat VALUES (9, 2)")
		if err := h.resolve(one, gtx.Aborted); !errors.Is(err, gtx.ErrDirty) {
			t.Errorf("%s: %v", how, err)
		}
		h.branch(two, "DELETE FROM seat WHERE id = 4")
		h.plain("INSERT INTO seat VALUES (10, 4)")
		if err := h.resolve(two, gtx.Aborted); !errors.Is(err, gtx.ErrDirty) {
			t.Errorf("%s: %v", how, err)
		}
		if got := h.rows("SELECT * FROM seat"); got != "[[1 101] [2 102] [9 2] [10 4]]" {
			t.Errorf("%s: %s", how, got)
		}
		h.plain("DELETE FROM seat WHERE id > 8")
		for _, xid := range []gtx.XID{one, two} {
			if err := h.resolve(xid, gtx.Aborted); err != nil {
				t.Errorf("%s: %v", how, err)
			}
		}
		h.nothingLeft()
		if got := h.rows("SELECT * FROM seat"); got != "[[1 1] [2 2] [3 3] [4 4]]" {
			t.Errorf("%s: %s", how, got)
		}
	}
}

// between does something whenever phase two asks for the statements for rows.
type between struct {
	undo.Dialect
	bulk func()
}

func (d between) Bulk(t *undo.Table, rows []undo.Row) undo.Bulk {
	d.bulk()
	return d.Dialect.Bulk(t, rows)
}

// TestOnlyWhatWasRestoredIsDeleted: another resolver ends the XID between two steps of
// this one, and a late branch (N3) writes the same row again. Its undo row stays.
func TestOnlyWhatWasRestoredIsDeleted(t *testing.T) {
	onStages(t, func(s *stage) {
		if s.name == "sqlite" {
			return // one writer at a time
		}
		s.exec("CREATE TABLE other (id bigint PRIMARY KEY, n bigint)", "INSERT INTO other VALUES (1, 1)")
		db, err := sql.Open("gtx-"+s.name, s.dsn)
		if err != nil {
			s.Fatal(err)
		}
		defer db.Close()
		err = s.bus.Run(s.Context(), func(ctx context.Context) error {
			for _, text := range []string{"UPDATE other SET n = 2", "INSERT INTO thing VALUES (5, 50, 'early')"} {
				if _, err := db.ExecContext(ctx, text); err != nil {
					return err
				}
			}
			s.exec("DELETE FROM gtx_branch") // which lets one resolver in at a time
			tx, _ := gtx.FromContext(ctx)
			aborted := gtx.Resolution{XID: tx.XID(), Status: gtx.Aborted}
			base, err := s.open(s.dsn)
			if err != nil {
				return err
			}
			step := 0
			res, err := undo.NewResolver(undo.Config{DB: s.out, Coordinator: func() gtx.Coordinator { return nil }, Dialect: between{base.Dialect, func() {
				step++
				switch step {
				case 1:
					if err := s.res.Resolve(ctx, aborted); err != nil {
						s.Error(err)
					}
				case 2:
					if _, err := db.ExecContext(ctx, "INSERT INTO thing VALUES (5, 55, 'late')"); err != nil {
						s.Error(err)
					}
				}
			}}})
			if err != nil {
				return err
			}
			if err := res.Resolve(ctx, aborted); err != nil || step < 2 {
				s.Errorf("%v after %d steps", err, step)
			}
			s.wantThings("[[1 10 one] [2 20 null] [3 30 ] [4 40 four] [5 55 late]]")
			if err := s.res.Resolve(ctx, aborted); err != nil {
				s.Error(err)
			}
			if st := res.Stats(); st.Restored != 0 {
				s.Errorf("stats %+v", st)
			}
			return errNo
		}, gtx.WithRetries(0))
		if !errors.Is(err, errNo) {
			s.Error(err)
		}
		s.wantThings(thingsBefore)
		s.wantNothing("SELECT xid FROM gtx_branch UNION ALL SELECT xid FROM gtx_undo")
	})
}

// TestForeignWritersBesideRestore: whatever a writer outside puts on a row while it is
// restored stays, in the plain path and where rows are taken out and put back.
func TestForeignWritersBesideRestore(t *testing.T) {
	const n = 700 // more than one bulk
	for _, tangled := range []bool{false, true} {
		t.Run(fmt.Sprintf("tangled=%t", tangled), func(t *testing.T) {
			onStages(t, func(s *stage) {
				s.places(n)
				s.exec("ALTER TABLE place ADD COLUMN hits bigint", "UPDATE place SET hits = 0")
				_, out := s.operator()
				s.begun([]string{fmt.Sprintf("UPDATE place SET pos = %d - pos", n+1)}, func(xid gtx.XID) {
					if tangled {
						s.exec(uniquePos)
					}
					ctx, cancel := context.WithCancel(s.Context())
					hits := 0
					var wg sync.WaitGroup
					wg.Go(func() {
						for i := 0; ctx.Err() == nil; i++ {
							res, err := out.ExecContext(s.Context(), fmt.Sprintf("UPDATE place SET hits = hits + 1 WHERE id = %d", 1+i*37%n))
							if err != nil {
								continue // busy, or a deadlock
							}
							if got, err := res.RowsAffected(); err != nil {
								s.Error(err)
							} else if hits += int(got); got == 0 && (s.name != "postgres" || !tangled) {
								// A statement of PostgreSQL that has waited for a row which is taken out
								// does not see the one that is put back, and says so.
								s.Errorf("row %d was not there", 1+i*37%n)
							}
						}
					})
					// Dirty rows are put right by hand, which keeps what the writer counted.
					err := s.res.Resolve(s.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted})
					cancel()
					wg.Wait()
					if err != nil && !errors.Is(err, gtx.ErrDirty) && !errors.Is(err, gtx.ErrConflict) {
						s.Error(err)
					}
					if got := s.rows("SELECT SUM(hits) FROM place"); got != fmt.Sprintf("[[%d]]", hits) {
						s.Errorf("%s of %d hits are left; resolved: %v", got, hits, err)
					}
					right := "[[0]]"
					if err == nil {
						right = fmt.Sprintf("[[%d]]", n)
					}
					if got := s.rows("SELECT COUNT(*) FROM place WHERE pos = id"); got != right {
						s.Errorf("%s rows restored, want %s (%v)", got, right, err)
					}
					s.exec("UPDATE place SET hits = 0")
					if err := s.res.Resolve(s.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted}); err != nil {
						s.Error(err)
					}
				})
				s.wantPlaces(n)
			})
		})
	}
}

// TestRandomAborts: whatever statements succeed in a global transaction, an abort
// brings every row back. Tables with unique keys, and with keys to each other and
// to themselves, make the order matter. MySQL and MariaDB delete no row that refers
// to itself and exchange no values of rows that others refer to: not tried there.
func TestRandomAborts(t *testing.T) {
	seed := time.Now().UnixNano()
	if text := os.Getenv("GTX_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("GTX_SEED=%d", seed)
	rounds := 12
	onStages(t, func(s *stage) {
		rnd := rand.New(rand.NewPCG(uint64(seed), 0))
		unique := "UNIQUE"
		if s.name == "mysql" {
			unique = ""
		}
		s.exec("CREATE TABLE p (id bigint PRIMARY KEY, u bigint "+unique+", up bigint, v varchar(20), FOREIGN KEY (up) REFERENCES p (id))",
			"CREATE TABLE c (a varchar(10), b bigint, p bigint, u bigint UNIQUE, PRIMARY KEY (a, b), FOREIGN KEY (p) REFERENCES p (id))",
			"INSERT INTO p VALUES (1, 1, NULL, ''), (2, 2, 1, NULL), (3, 3, 1, 'x'), (4, NULL, 4, 'y'), (5, 5, NULL, 'z')",
			"INSERT INTO c VALUES ('a', 1, 1, 1), ('b', 1, 2, 2), ('', 3, NULL, NULL), ('c', 1, 4, 4)")
		const all = "SELECT id, u, up, COALESCE(v, 'null') FROM p ORDER BY id"
		state := func() string { return s.rows(all) + s.rows("SELECT a, b, p, u FROM c ORDER BY a, b") }
		id := func() int { return 1 + rnd.IntN(8) }
		value := func() string {
			if rnd.IntN(5) == 0 {
				return "NULL"
			}
			return strconv.Itoa(id())
		}
		above := func() string {
			if s.name == "mysql" {
				return []string{"NULL", "1"}[rnd.IntN(2)]
			}
			return value()
		}
		statement := func() string {
			switch rnd.IntN(9) {
			case 0:
				return fmt.Sprintf("INSERT INTO p (id, u, up, v) VALUES (%d, %s, %s, 'n')", id(), value(), above())
			case 1:
				return fmt.Sprintf("INSERT INTO c (a, b, p, u) VALUES ('%c', %d, %s, %s)", 'a'+rune(rnd.IntN(4)), id(), value(), value())
			case 2:
				return fmt.Sprintf("DELETE FROM p WHERE id >= %d", id())
			case 3:
				return fmt.Sprintf("DELETE FROM c WHERE p = %d OR b > %d", id(), id())
			case 4:
				return fmt.Sprintf("UPDATE p SET u = %s WHERE id = %d", value(), id())
			case 5:
				return fmt.Sprintf("UPDATE p SET up = %s, v = 'w' WHERE id < %d", above(), id())
			case 6:
				return fmt.Sprintf("UPDATE c SET u = u + 10, p = %s WHERE b < %d", value(), id())
			case 7:
				return "UPDATE p SET u = NULL"
			}
			return fmt.Sprintf("UPDATE c SET b = b + %d WHERE p = %d", id(), id())
		}
		before, done := state(), 0
		db, err := sql.Open("gtx-"+s.name, s.dsn)
		if err != nil {
			s.Fatal(err)
		}
		defer db.Close()
		for range rounds {
			var texts []string
			err := s.bus.Run(s.Context(), func(ctx context.Context) error {
				for range 1 + rnd.IntN(4) {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					kept := []string{"--"}
					for range 1 + rnd.IntN(4) {
						text := statement()
						if _, err := tx.ExecContext(ctx, text); err != nil {
							break // refused by a constraint
						}
						kept = append(kept, text)
					}
					if tx.Commit() == nil {
						texts = append(texts, kept...)
						done += len(kept) - 1
					}
				}
				return errNo
			}, gtx.WithRetries(0))
			if !errors.Is(err, errNo) {
				s.Fatal(err)
			}
			for s.rows("SELECT xid FROM gtx_branch UNION ALL SELECT xid FROM gtx_undo") != "[]" {
				if _, err := s.res.Scan(s.Context()); err != nil && !errors.Is(err, gtx.ErrConflict) {
					s.Fatalf("%v after\n%s", err, strings.Join(texts, "\n"))
				}
			}
			if got := state(); got != before {
				s.Fatalf("got  %s\nwant %s\nafter\n%s", got, before, strings.Join(texts, "\n"))
			}
		}
		if done < rounds {
			s.Errorf("only %d statements ran in %d rounds", done, rounds)
		}
	})
}

// TestDomainRefusesTheImage: the before image cannot even be read any more.
func TestDomainRefusesTheImage(t *testing.T) {
	onStages(t, func(s *stage) {
		if s.name != "postgres" {
			return // no domains there
		}
		s.exec("CREATE DOMAIN small AS int CHECK (VALUE < 100)", "CREATE TABLE d (id int PRIMARY KEY, n small)", "INSERT INTO d VALUES (1, 5), (2, 50), (3, 7)")
		s.begun([]string{"UPDATE d SET n = 1"}, func(xid gtx.XID) {
			s.exec("ALTER DOMAIN small ADD CONSTRAINT tiny CHECK (VALUE < 10)")
			if err := s.res.Resolve(s.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted}); !errors.Is(err, gtx.ErrDirty) {
				s.Error(err)
			}
			stuck, err := s.res.Stuck(s.Context())
			if err != nil || len(stuck) != 1 || !strings.Contains(stuck[0].Reason, "tiny") || strings.Contains(stuck[0].Reason, "COMMIT") {
				s.Fatalf("%+v, %v", stuck, err)
			}
			if got := s.rows("SELECT CAST(before_img AS text) FROM gtx_undo WHERE keyh = '" + stuck[0].KeyHash + "'"); got != "[[(2,50)]]" {
				s.Errorf("stuck at %s", got)
			}
			s.exec("ALTER DOMAIN small DROP CONSTRAINT tiny")
			if err := s.res.Resolve(s.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted}); err != nil {
				s.Error(err)
			}
		})
		if got := s.rows("SELECT n FROM d ORDER BY id"); got != "[[5] [50] [7]]" {
			s.Error(got)
		}
	})
}

// TestCancelledAnywhere: phase two is cancelled at any point, and is done by whoever
// comes next. A pool may find a connection closed beside its use then.
func TestCancelledAnywhere(t *testing.T) {
	onStages(t, func(s *stage) {
		seed := rand.Uint64()
		s.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		for range 10 {
			s.begun([]string{"UPDATE thing SET n = n + 1"}, func(xid gtx.XID) {
				for range 15 {
					ctx, cancel := context.WithTimeout(s.Context(), time.Duration(rng.Int64N(int64(4*time.Millisecond))))
					_ = s.res.Resolve(ctx, gtx.Resolution{XID: xid, Status: gtx.Aborted}) // or not
					cancel()
				}
			})
		}
	})
}
