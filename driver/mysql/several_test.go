package mysql

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

func joined2() *fixture {
	return &fixture{
		make: []string{
			"CREATE TABLE a (id INT PRIMARY KEY, b INT, v INT)",
			"CREATE TABLE `order` (k VARCHAR(20) CHARACTER SET utf8mb4, n INT, w INT, PRIMARY KEY (k, n), KEY (n))",
		},
		fill: []string{
			"INSERT INTO a VALUES (1,1,1),(2,2,2),(3,3,3),(4,9,4),(5,NULL,5)",
			"INSERT INTO `order` VALUES ('a',1,10),('A2',1,11),('',2,20),('日本',3,30),('z',8,80)",
		},
		tables: []string{"a", "`order`"},
		hold:   []string{"UPDATE a SET v = v + 1", "UPDATE `order` SET w = w + 1"},
	}
}

func TestSeveralTables(t *testing.T) {
	const touched = "UPDATE a SET v = v + 5"
	same(t, joined2(), []sameCase{
		{text: "UPDATE a JOIN `order` o ON o.n = a.b SET a.v = o.w WHERE o.n > ?", args: []any{1}, before: touched},
		{text: "UPDATE a, `order` SET v = v + w, w = 0 WHERE b = n AND n > 1"},
		{text: "UPDATE a, `order` SET v = 7 WHERE b = n", before: touched},
		{text: "UPDATE a LEFT JOIN `order` o ON o.n = a.b SET a.v = ?, o.w = ? WHERE a.id > ?", args: []any{70, 71, 1}},
		{text: "UPDATE a AS x JOIN a AS y ON y.id = x.id + ? SET x.v = 100, y.v = 100", args: []any{2}},
		{text: "UPDATE a JOIN (SELECT MAX(n) AS m FROM `order` WHERE n < ?) q ON a.b = q.m SET a.v = q.m", args: []any{8}},
		{text: "UPDATE a JOIN `order` o ON o.n = a.b SET a.v = 1 WHERE a.id = 1"},
		{text: "UPDATE a JOIN `order` o ON o.n = a.b SET a.v = 1 WHERE a.id = 99", free: true},
		{text: "DELETE a FROM a JOIN `order` o ON o.n = a.b WHERE o.w > ?", args: []any{10}, before: touched},
		{text: "DELETE a, o FROM a JOIN `order` AS o ON o.n = a.b"},
		{text: "DELETE FROM a USING a LEFT JOIN `order` o ON o.n = a.b WHERE o.n IS NULL -- end"},
		{text: "DELETE o, x FROM a x LEFT JOIN `order` o ON o.n = x.b", before: touched},
		{text: "DELETE x FROM a x JOIN a y ON x.id < y.id", before: "DELETE FROM a WHERE id = 3"},
	})
}

func TestSeveralRefused(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("CREATE TABLE b (id INT PRIMARY KEY, w INT)")
		for text, code := range map[string]string{
			"UPDATE a, b SET a.id = 5 WHERE a.id = b.id":           "key-update",
			"UPDATE a AS gtx_u, b SET w = 5":                       "alias",
			"UPDATE a JOIN b ON a.id = b.id + RAND() SET a.v = 1":  "volatile",
			"UPDATE IGNORE a JOIN b ON a.id = b.id SET a.v = 1":    "ignore",
			"DELETE IGNORE a FROM a JOIN b ON a.id = b.id":         "ignore",
			"DELETE a FROM a JOIN b ON a.id = b.id WHERE SLEEP(0)": "volatile",
		} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != code {
				t.Errorf("%s: %v, want code %s", text, err, code)
			}
		}
	})
}

// TestSeveralRace joins beside a writer that adds partners.
func TestSeveralRace(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		t.Run(level.String(), func(t *testing.T) {
			onEach(t, func(t *testing.T, d *database) {
				d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
				d.exec("CREATE TABLE b (id INT PRIMARY KEY, w INT, KEY (w))")
				for _, text := range []string{
					"UPDATE a JOIN b ON b.w = a.id SET a.v = a.v + 1000, b.w = 1000",
					"DELETE a, b FROM a JOIN b ON b.w = a.id",
				} {
					d.exec("DELETE FROM a")
					d.exec("DELETE FROM b")
					d.exec("INSERT INTO a VALUES (1,0),(2,0),(3,0)")
					d.exec("INSERT INTO b VALUES (1,1)")
					foreign, done := 0, 0
					for range 10 {
						xid, first := newXID(), foreign
						foreign += race(d, 1, 30, func(i int) (string, []any) {
							return "INSERT INTO b VALUES (?,?)", []any{10 + first + i, i%3 + 1}
						}, nil, func() *branch { return d.branchIn(level, xid) }, text)
						if d.one("SELECT COUNT(*) FROM gtx_undo") != "0" {
							done++
						}
						d.mustAbort(xid)
						if got := d.one("SELECT COUNT(*) FROM a WHERE v <> 0") + d.one("SELECT COUNT(*) FROM b WHERE w = 1000"); got != "00" {
							t.Fatalf("%s: %s changed rows had no image", text, got)
						}
						if got, want := d.one("SELECT (SELECT COUNT(*) FROM a)+(SELECT COUNT(*) FROM b)"), d.one("SELECT ? + 4", foreign); got != want {
							t.Fatalf("%s: %s rows, want %s", text, got, want)
						}
					}
					if done == 0 {
						t.Error("no run came through")
					}
				}
			})
		})
	}
}
