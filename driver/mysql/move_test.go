package mysql

import (
	"errors"
	"testing"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
)

func moves() *fixture {
	return &fixture{
		make: []string{
			"CREATE TABLE a (id INT PRIMARY KEY, u INT UNIQUE, v INT)",
			"CREATE TABLE chain (id INT PRIMARY KEY, v INT)",
			"CREATE TABLE `order` (k VARCHAR(20) CHARACTER SET utf8mb4, n BIGINT UNSIGNED, v INT, PRIMARY KEY (k, n))",
		},
		fill: []string{
			"INSERT INTO a VALUES (1,1,1),(2,2,2),(3,3,3),(5,NULL,5)",
			"INSERT INTO chain VALUES (1,1),(2,2),(3,3)",
			"INSERT INTO `order` VALUES ('a',1,1),('b',2,2),('',3,3),('日本',4,4)",
		},
		tables: []string{"a", "chain", "`order`"},
		hold:   []string{"UPDATE a SET v = v + 1", "UPDATE chain SET v = v + 1", "UPDATE `order` SET v = v + 1"},
	}
}

func TestMove(t *testing.T) {
	const touched = "UPDATE a SET v = v + 5"
	same(t, moves(), []sameCase{
		{text: "UPDATE a SET id = 9 WHERE id = 1"},
		{text: "UPDATE a SET id = ? WHERE id = ?", args: []any{9, 1}, before: touched},
		{text: "UPDATE a SET id = id + 100"},
		{text: "UPDATE a SET id = id + 100 WHERE v > 1 ORDER BY id LIMIT 2", before: touched},
		{text: "UPDATE chain SET id = id + 1 ORDER BY id DESC"},
		{text: "UPDATE chain AS x SET x.`id` = x.id - ? WHERE x.id > ? ORDER BY x.id", args: []any{1, 1}, before: "DELETE FROM chain WHERE id = 1"},
		{text: "UPDATE a SET id = 1 WHERE id = 1"},
		{text: "UPDATE a SET id = IF(id = 1, 1, id + 50)"},
		{text: "UPDATE a SET id = 9 WHERE id = 7", before: "INSERT INTO a VALUES (7,7,7)", free: true},
		{text: "UPDATE a SET id = 3 WHERE id = 1", before: "DELETE FROM a WHERE id = 3"},
		{text: "UPDATE a SET id = 7 WHERE id = 99", free: true},
		{text: "UPDATE `order` SET k = ? WHERE n = ?", args: []any{"é", 1}},
		{text: "UPDATE `order` SET n = n + 10 /* end */ -- x"},
		{text: "UPDATE `order` SET k = CONCAT(k, ?) WHERE k <> ?", args: []any{"日", "b"}},
		{text: "UPDATE `order` SET k = 'A' WHERE k = 'a'"},
		{text: "UPDATE a SET v = 7, id = 9 WHERE id = 1"},
		{text: "UPDATE a SET a.`id` = id + ?, v = id * ?, u = NULL WHERE v > ?", args: []any{100, 2, 1}, before: touched},
		{text: "UPDATE a SET v = v + 1, id = IF(id IN (1, 2), id + 50, id + 60) ORDER BY id LIMIT 3"},
		{text: "UPDATE a SET id = id, v = 99"},
		{text: "UPDATE `order` SET k = CONCAT(k, ',=', ?), v = v + 1, n = n + ? WHERE k <> ?", args: []any{"日", 7, "b"}},
		{text: "UPDATE `order` SET n = 9, v = 2, k = 'q' WHERE k = 'a'", before: "UPDATE `order` SET v = v + 5"},
		{text: "UPDATE a SET v = 5, id = 3 WHERE id = 1", before: "DELETE FROM a WHERE id = 3"},
	})
}

func TestMoveFails(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("CREATE TABLE day (id DATE PRIMARY KEY)")
		d.exec("INSERT INTO a VALUES (1,1),(2,2),(3,3),(4,4)")
		want := d.checksum("a")
		for text, code := range map[string]string{
			"UPDATE a SET v = 2, id = v":       "key-update",
			"UPDATE a SET id = 5, id = 6":      "key-update",
			"UPDATE a SET v = '\\'', id = 5":   "key-update",
			"UPDATE a SET id = DEFAULT":        "key-update",
			"UPDATE a SET id /* = */ = 5":      "key-update",
			"UPDATE day SET id = '2020-01-01'": "key-update",
			"UPDATE a SET id = UUID_SHORT()":   "volatile",
		} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != code {
				t.Errorf("%s: %v, want code %s", text, err, code)
			}
		}
		b := d.branch(newXID())
		b.must(1, "INSERT INTO a VALUES (7,7)")
		b.must(1, "UPDATE a SET v = 9 WHERE id = 3")
		for _, text := range []string{"UPDATE a SET id = 2 WHERE id = 1", "UPDATE a SET id = 7 WHERE id = 1", "UPDATE a SET id = 3 WHERE id = 1"} {
			var my *base.MySQLError
			if _, err := b.run(text); !errors.As(err, &my) || my.Number != 1062 || !b.kept {
				t.Errorf("%s: %v, kept %v", text, err, b.kept)
			}
		}
		b.must(1, "UPDATE a SET id = 8 WHERE id = 3")
		b.commit()

		// A key that another transaction emptied is still its own.
		holder := d.branch(newXID())
		holder.must(1, "DELETE FROM a WHERE id = 4")
		holder.commit()
		other := d.branch(newXID())
		if _, err := other.run("UPDATE a SET id = 4 WHERE id = 2"); !errors.Is(err, gtx.ErrConflict) || other.kept {
			t.Errorf("%v, kept %v", err, other.kept)
		}
		other.rollback()
		d.mustAbort(holder.xid)
		d.mustAbort(b.xid)
		if got := d.checksum("a"); got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}

		// Rule T4: a foreign deletion at the new key is found.
		xid := newXID()
		b = d.branch(xid)
		b.must(1, "UPDATE a SET v = 9 WHERE id = 3")
		b.commit()
		d.exec("DELETE FROM a WHERE id = 3")
		b = d.branch(xid)
		if _, err := b.run("UPDATE a SET id = 3 WHERE id = 1"); err == nil || b.kept {
			t.Errorf("%v, kept %v", err, b.kept)
		}
	})
}
