package undo_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// places is a table whose unique key comes later than the changes of a global
// transaction: so any statement can leave rows that took each other's values.
func (s *stage) places(n int) {
	s.Helper()
	s.exec("CREATE TABLE place (id bigint PRIMARY KEY, pos bigint, note varchar(20))",
		"CREATE TABLE child (id bigint PRIMARY KEY, place bigint, FOREIGN KEY (place) REFERENCES place (id))")
	for from := 1; from <= n; from += 500 {
		var rows []string
		for i := from; i < from+500 && i <= n; i++ {
			rows = append(rows, fmt.Sprintf("(%d, %d, 'n%d')", i, i, i))
		}
		s.exec("INSERT INTO place VALUES " + strings.Join(rows, ","))
	}
}

const uniquePos = "CREATE UNIQUE INDEX place_pos ON place (pos)"

// undone runs phase two and wants every row back.
func (s *stage) undone(n int) {
	s.Helper()
	if left, err := s.res.Scan(s.Context()); left != 0 || err != nil {
		s.Fatalf("%d left, %v", left, err)
	}
	s.wantPlaces(n)
}

func (s *stage) wantPlaces(n int) {
	s.Helper()
	if got, want := s.rows("SELECT COUNT(*), COUNT(CASE WHEN id = pos AND note IS NOT NULL THEN 1 END) FROM place"), fmt.Sprintf("[[%d %d]]", n, n); got != want {
		s.Errorf("rows and those that are right: %s, want %s", got, want)
	}
	if got := s.rows("SELECT xid FROM gtx_branch UNION ALL SELECT xid FROM gtx_undo"); got != "[]" {
		s.Errorf("left: %s", got)
	}
}

// stays wants phase two to end as stuck, by a reason that names the constraint and
// no value, and gives that reason.
func (s *stage) stays(xid gtx.XID, words ...string) undo.StuckTx {
	s.Helper()
	if left, err := s.res.Scan(s.Context()); left != 1 || !errors.Is(err, gtx.ErrDirty) {
		s.Fatalf("%d left, %v", left, err)
	}
	stuck, err := s.res.Stuck(s.Context())
	if err != nil || len(stuck) != 1 || stuck[0].XID != xid {
		s.Fatalf("stuck %+v, %v", stuck, err)
	}
	for _, word := range words {
		if !strings.Contains(stuck[0].Reason, word) {
			s.Errorf("reason %q does not name %q", stuck[0].Reason, word)
		}
	}
	if s.res.Stats().Stuck != 1 {
		s.Errorf("stats %+v", s.res.Stats())
	}
	return stuck[0]
}

func TestExchangedUniqueValues(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(6)
		s.aborted([]string{
			"UPDATE place SET pos = 3 - pos WHERE id < 3",                                            // a cycle of two
			"UPDATE place SET pos = CASE id WHEN 5 THEN 3 ELSE pos + 1 END WHERE id BETWEEN 3 AND 5", // of three
			"DELETE FROM place WHERE id = 6", "INSERT INTO place VALUES (7, 6, 'mine')",              // a value handed on
		}, []string{uniquePos})
		s.undone(6)
		if got := s.rows("SELECT note FROM place ORDER BY id"); got != "[[n1] [n2] [n3] [n4] [n5] [n6]]" {
			s.Error(got)
		}
	})
}

// TestShiftedUniqueValues: the work grows with the rows, not with their square.
func TestShiftedUniqueValues(t *testing.T) {
	const n = 1200 // more than one bulk
	onStages(t, func(s *stage) {
		s.places(n)
		s.aborted([]string{"UPDATE place SET pos = pos + 1"}, []string{uniquePos})
		s.undone(n)
	})
}

// TestShiftedByTheServer: the same where the server itself allows the shift.
func TestShiftedByTheServer(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(600)
		var text string
		switch {
		case s.name == "mysql":
			s.exec(uniquePos)
			text = "UPDATE place SET pos = pos + 1 ORDER BY pos DESC"
		case s.name == "postgres":
			s.exec("ALTER TABLE place ADD CONSTRAINT place_pos UNIQUE (pos) DEFERRABLE")
			text = "UPDATE place SET pos = 601 - pos"
		default:
			s.exec(uniquePos)
			text = "UPDATE place SET pos = -pos"
		}
		s.aborted([]string{text}, nil)
		s.undone(600)
	})
}

// TestExchangeWithChildren: rows that others refer to cannot be deleted for a
// while where the server checks foreign keys row by row.
func TestExchangeWithChildren(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(4)
		xid := s.aborted([]string{"UPDATE place SET pos = 3 - pos WHERE id < 3", "UPDATE place SET pos = 7 - pos WHERE id > 2"},
			[]string{uniquePos, "INSERT INTO child VALUES (1, 1), (2, 2), (3, 3)"})
		if s.name != "mysql" {
			s.undone(4)
			return
		}
		// 3 and 4 could be exchanged, since 4 has no child, but all or none are restored.
		s.stays(xid, "place_pos")
		if got := s.rows("SELECT pos FROM place ORDER BY id"); got != "[[2] [1] [4] [3]]" {
			s.Error(got)
		}
		s.exec("DELETE FROM child WHERE id = 1")
		s.undone(4)
		if got := s.rows("SELECT COUNT(*) FROM child"); got != "[[2]]" {
			s.Errorf("children %s", got)
		}
	})
}

// TestChainWithChildren has no cycle: an order works, though no row can be deleted.
func TestChainWithChildren(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(40)
		s.aborted([]string{"UPDATE place SET pos = pos + 1"}, []string{uniquePos, "INSERT INTO child SELECT id, id FROM place"})
		s.undone(40)
	})
}

// TestRowsThatReferToEachOther: a table with a key to itself, filled by one
// statement and emptied by another.
func TestRowsThatReferToEachOther(t *testing.T) {
	onStages(t, func(s *stage) {
		s.exec("CREATE TABLE tree (id bigint PRIMARY KEY, up bigint, FOREIGN KEY (up) REFERENCES tree (id))",
			"INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, 1)")
		s.aborted([]string{
			"UPDATE tree SET up = NULL", "DELETE FROM tree", "INSERT INTO tree VALUES (11, NULL), (12, 11), (13, 12), (14, 11)",
		}, nil)
		if left, err := s.res.Scan(s.Context()); left != 0 || err != nil {
			s.Fatalf("%d left, %v", left, err)
		}
		if got := s.rows("SELECT id, COALESCE(up, 0) FROM tree ORDER BY id"); got != "[[1 0] [2 1] [3 2] [4 3] [5 1]]" {
			s.Error(got)
		}
	})
}

func TestDirtyAmongTangled(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(8)
		xid := s.aborted([]string{"UPDATE place SET pos = 9 - pos"}, []string{uniquePos, "UPDATE place SET note = 'foreign' WHERE id = 6"})
		stuck := s.stays(xid, "not what the transaction left")
		rows, err := s.res.Show(s.Context(), xid)
		if err != nil {
			s.Fatal(err)
		}
		for _, r := range rows {
			if (r.KeyHash == stuck.KeyHash) != (text(r.Key[0].Value) == "6") || r.Dirty != (text(r.Key[0].Value) == "6") || r.Refused != "" {
				s.Errorf("row %s: %+v", text(r.Key[0].Value), r)
			}
		}
		if got := s.rows("SELECT pos FROM place ORDER BY id"); got != "[[8] [7] [6] [5] [4] [3] [2] [1]]" {
			s.Errorf("changed %s", got)
		}
		s.exec("UPDATE place SET note = 'n6' WHERE id = 6")
		s.undone(8)
	})
}

// TestValueTakenByAnother: a row outside has the unique value that an abort needs.
func TestValueTakenByAnother(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(3)
		s.exec(uniquePos)
		xid := s.aborted([]string{"UPDATE place SET pos = pos + 100", "UPDATE place SET note = 'x' WHERE id = 1"},
			[]string{"INSERT INTO place VALUES (9, 2, 'foreign')"})
		column := "place_pos"
		if s.name == "sqlite" {
			column = "place.pos"
		}
		stuck := s.stays(xid, column)
		rows, err := s.res.Show(s.Context(), xid)
		if err != nil {
			s.Fatal(err)
		}
		for _, r := range rows {
			if (r.Refused != "") != (text(r.Key[0].Value) == "2") || (r.KeyHash == stuck.KeyHash) != (r.Refused != "") || r.Dirty {
				s.Errorf("row %s: %+v", text(r.Key[0].Value), r)
			}
		}
		// Nothing is dirty, so nothing can be forced; what is refused can be given up.
		op := s.operation(xid, undo.ForceBefore)
		if _, err := s.res.Operate(s.Context(), op); !errors.Is(err, undo.ErrNothing) {
			s.Errorf("forced: %v", err)
		}
		if _, err := s.res.Operate(s.Context(), s.operation(xid, undo.Retry)); !errors.Is(err, gtx.ErrDirty) {
			s.Errorf("retried: %v", err)
		}
		done, err := s.res.Operate(s.Context(), s.operation(xid, undo.KeepCurrent))
		if err != nil || done.Left != nil || len(done.Rows) != 1 || done.Rows[0].KeyHash != stuck.KeyHash {
			s.Fatalf("%+v, %v", done, err)
		}
		s.settled(1, undo.KeepCurrent)
		if got := s.rows("SELECT id, pos, note FROM place ORDER BY id"); got != "[[1 1 n1] [2 102 n2] [3 3 n3] [9 2 foreign]]" {
			s.Error(got)
		}
	})
}

func TestFreedValueEndsIt(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(3)
		s.exec(uniquePos)
		xid := s.aborted([]string{"DELETE FROM place WHERE id = 2"}, []string{"INSERT INTO place VALUES (9, 2, 'foreign')"})
		s.stays(xid)
		s.exec("DELETE FROM place WHERE id = 9")
		s.undone(3)
		if s.res.Stats().Stuck != 0 {
			s.Errorf("stats %+v", s.res.Stats())
		}
	})
}

// TestChildOfAnInsertedRow: a row outside refers to the row that an abort deletes.
func TestChildOfAnInsertedRow(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(3)
		xid := s.aborted([]string{"INSERT INTO place VALUES (4, 4, 'mine')"}, []string{"INSERT INTO child VALUES (1, 4)"})
		word := "child"
		if s.name == "sqlite" {
			word = "child refers to a row of place"
		}
		if stuck := s.stays(xid, word); !strings.Contains(stuck.Table, "place") {
			s.Errorf("stuck %+v", stuck)
		}
		s.wantNothing("SELECT id FROM place WHERE id > 4")
		s.exec("DELETE FROM child")
		s.undone(3)
	})
}

// TestParentOfADeletedRow: the row that a deleted one referred to is gone.
func TestParentOfADeletedRow(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(3)
		s.exec("INSERT INTO child VALUES (1, 3)")
		xid := s.aborted([]string{"DELETE FROM child"}, []string{"DELETE FROM place WHERE id = 3"})
		s.stays(xid)
		s.exec("INSERT INTO place VALUES (3, 3, 'n3')")
		s.undone(3)
		if got := s.rows("SELECT id, place FROM child"); got != "[[1 3]]" {
			s.Error(got)
		}
	})
}

func (s *stage) wantNothing(query string) {
	s.Helper()
	if got := s.rows(query); got != "[]" {
		s.Errorf("%s: %s", query, got)
	}
}

// TestCheckRefusesTheImage: a constraint that came later refuses what was before.
func TestCheckRefusesTheImage(t *testing.T) {
	onStages(t, func(s *stage) {
		if s.name == "sqlite" {
			return // no ALTER TABLE adds a check there
		}
		s.places(3)
		xid := s.aborted([]string{"UPDATE place SET pos = 100 WHERE id = 2"}, []string{"ALTER TABLE place ADD CONSTRAINT not_two CHECK (pos <> 2)"})
		s.stays(xid, "not_two")
		s.exec("ALTER TABLE place DROP CONSTRAINT not_two")
		s.undone(3)
		if s.name != "postgres" {
			return
		}
		xid = s.aborted([]string{"UPDATE place SET pos = 100 WHERE id = 2"},
			[]string{"ALTER TABLE place ADD CONSTRAINT apart EXCLUDE USING btree (pos WITH =)", "INSERT INTO place VALUES (9, 2, 'foreign')"})
		s.stays(xid, "apart")
		s.exec("DELETE FROM place WHERE id = 9")
		s.undone(3)
		// A key that is checked at COMMIT names no row.
		xid = s.aborted([]string{"UPDATE place SET pos = 100 WHERE id = 2"}, []string{
			"ALTER TABLE place DROP CONSTRAINT apart", "ALTER TABLE place ADD CONSTRAINT late UNIQUE (pos) DEFERRABLE",
			"INSERT INTO place VALUES (9, 2, 'foreign')",
		})
		s.stays(xid, "late", "COMMIT")
		s.exec("DELETE FROM place WHERE id = 9")
		s.undone(3)
	})
}

// TestTwoTangledTables learns of the second while it restores the first.
func TestTwoTangledTables(t *testing.T) {
	onStages(t, func(s *stage) {
		s.places(4)
		s.exec("CREATE TABLE seat (id bigint PRIMARY KEY, pos bigint)", "INSERT INTO seat VALUES (1, 1), (2, 2)")
		s.aborted([]string{"UPDATE seat SET pos = 3 - pos", "UPDATE place SET pos = 5 - pos"},
			[]string{uniquePos, "CREATE UNIQUE INDEX seat_pos ON seat (pos)"})
		s.undone(4)
		if got := s.rows("SELECT pos FROM seat ORDER BY id"); got != "[[1] [2]]" {
			s.Error(got)
		}
	})
}
