package mysql

import (
	"database/sql"
	"testing"
)

func orders() *fixture {
	return &fixture{
		make: []string{
			"CREATE TABLE `order` (id INT, part INT, k VARCHAR(20) CHARACTER SET utf8mb4, n INT, u INT UNIQUE, U1 INT AS (u + 1), PRIMARY KEY (k, id), KEY by_n (n))",
			"CREATE TABLE p (id INT PRIMARY KEY, n INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
		},
		fill: []string{
			"INSERT INTO `order` (id,part,k,n,u) VALUES (1,1,'a',3,1),(2,1,'',2,2),(3,1,'日本',1,3),(4,2,'d',4,4),(5,2,'é',5,NULL)",
			"INSERT INTO p VALUES (1,1),(2,2),(11,11),(12,12)",
		},
		tables: []string{"`order`", "p"},
		hold:   []string{"UPDATE `order` SET part = part + 1", "UPDATE p SET n = n + 1"},
	}
}

func TestModifyForms(t *testing.T) {
	const touched = "UPDATE `order` SET part = part + 1"
	same(t, orders(), []sameCase{
		{text: "UPDATE `order` SET n = n + 10 ORDER BY n LIMIT 2"},
		{text: "UPDATE `order` SET n = n + 10 ORDER BY n DESC LIMIT 2", before: touched},
		{text: "UPDATE `order` SET n = n + 10 WHERE n > ? ORDER BY n, n + ? LIMIT ?", args: []any{1, 7, 2}},
		{text: "UPDATE `order` SET n = ? WHERE k >= ? ORDER BY n * ? LIMIT 3", args: []any{77, "", -1}},
		{text: "UPDATE `order` SET n = 3 ORDER BY n LIMIT 3"},
		{text: "UPDATE `order` SET n = 3 LIMIT 0", free: true},
		{text: "UPDATE `order` SET n = 0 ORDER BY U LIMIT 2", before: touched},
		{text: "UPDATE `order` SET n = 0 ORDER BY u DESC LIMIT 2 -- end"},
		{text: "UPDATE `order` o SET o.n = 1 ORDER BY o.n DESC LIMIT 2"},
		{text: "UPDATE LOW_PRIORITY `order` SET n = 9 WHERE id = 1"},
		{text: "UPDATE `order` FORCE INDEX (by_n) SET n = 9 WHERE n BETWEEN 2 AND 4"},
		{text: "UPDATE `order` AS o USE INDEX (by_n) IGNORE INDEX (PRIMARY) SET n = 9 WHERE o.n BETWEEN ? AND ? ORDER BY o.n LIMIT 2", args: []any{2, 4}},
		{text: "UPDATE p PARTITION (p1) SET n = n + 1"},
		{text: "UPDATE p PARTITION (p0, p1) AS q SET n = n + 1 WHERE q.n > 1 ORDER BY n LIMIT 2"},
		{text: "DELETE FROM p PARTITION (p0)"},
		{text: "DELETE FROM p PARTITION (p1) WHERE n > ? ORDER BY n DESC LIMIT 1", args: []any{1}, before: "UPDATE p SET n = n + 1"},
		{text: "DELETE FROM `order` ORDER BY n LIMIT 2", before: touched},
		{text: "DELETE FROM `order` WHERE n > ? ORDER BY n LIMIT ?", args: []any{1, 2}},
		{text: "DELETE LOW_PRIORITY QUICK FROM `order` WHERE n > 2"},
		{text: "DELETE FROM `order` LIMIT 3"},
		{text: "DELETE FROM `order` AS o WHERE o.n > 1 ORDER BY o.n LIMIT 1", only: "mysql"},
		{text: "WITH c AS (SELECT MIN(n) AS n FROM p) UPDATE `order` SET n = n + 5 WHERE n > (SELECT n FROM c) ORDER BY n LIMIT 2", only: "mysql", before: touched},
		{text: "WITH c (x) AS (SELECT ?), e AS (SELECT x + 1 AS y FROM c) UPDATE `order` AS o SET o.n = (SELECT y FROM e) WHERE id IN (SELECT x FROM c)", args: []any{2}, only: "mysql"},
		{text: "WITH c (x) AS (SELECT ?) DELETE FROM `order` WHERE id IN (SELECT x FROM c) OR id = ?", args: []any{2, 3}, only: "mysql"},
		{text: "UPDATE `order` SET n = n + 100, part = n, id = id WHERE n > 2"}, // the index in use changes, and the second sees the first
		{text: "UPDATE `order` SET n = n + 100, part = n WHERE n > 2 AND id IN (SELECT id FROM p)"},
		{text: "/* first */ UPDATE `order` SET n = 9 WHERE id = ? /* last ? */ ; ", args: []any{3}},
	})
}

// TestLimitRace runs statements with LIMIT beside writers that bring rows to the
// front: what is changed is what was captured.
func TestLimitRace(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		t.Run(level.String(), func(t *testing.T) {
			onEach(t, func(t *testing.T, d *database) {
				d.exec("CREATE TABLE a (id INT PRIMARY KEY, rank_ INT, ver INT, KEY (rank_))")
				for _, text := range []string{"UPDATE a SET ver = ver + 1000 ORDER BY rank_ LIMIT 2", "DELETE FROM a ORDER BY rank_ LIMIT 2"} {
					d.exec("DELETE FROM a")
					for i := range 6 {
						d.exec("INSERT INTO a VALUES (?,?,0)", i, i*10)
					}
					xid := newXID()
					foreign := race(d, 10, 40, func(i int) (string, []any) {
						return "INSERT INTO a VALUES (?,?,1)", []any{100 + i, -i}
					}, nil, func() *branch { return d.branchIn(level, xid) }, text)
					if got := d.one("SELECT COUNT(*) FROM gtx_undo"); got == "0" {
						t.Fatal("nothing was captured")
					}
					d.mustAbort(xid)
					if got := d.one("SELECT COUNT(*) FROM a WHERE ver >= 1000"); got != "0" {
						t.Errorf("%s: %s changed rows had no image", text, got)
					}
					if got := d.one("SELECT COUNT(*) FROM a WHERE id < 100 OR ver = 1"); got != d.one("SELECT 6 + ?", foreign) {
						t.Errorf("%s: %s rows, %d foreign", text, got, foreign)
					}
				}
			})
		})
	}
}
