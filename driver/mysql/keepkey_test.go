package mysql

import (
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestOnDuplicateKeepsKey: an upsert may give the key its own value, as mappers do to
// keep a row or to learn its number.
func TestOnDuplicateKeepsKey(t *testing.T) {
	const touched = "UPDATE a SET v = v + 5"
	same(t, rows(), []sameCase{
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'x', 9) ON DUPLICATE KEY UPDATE id = id"},
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'x', 9) ON DUPLICATE KEY UPDATE `id`=`id`", before: touched},
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'x', 9), (9, 'y', 8), (2, 'z', 7) ON DUPLICATE KEY UPDATE id=id"},
		{text: "INSERT INTO a (name, v) VALUES ('b', 9), ('y', 8) ON DUPLICATE KEY UPDATE a.id = a.id, v = 4"},
		{text: "INSERT INTO a (name, v) VALUES ('y', 8) ON DUPLICATE KEY UPDATE `id`=`id`", free: true},
		{text: "INSERT INTO a (name, v) VALUES ('b', ?) ON DUPLICATE KEY UPDATE v = VALUES(v), id = LAST_INSERT_ID(id)", args: []any{9}},
		{text: "INSERT INTO a (name, v) VALUES ('b', 9) ON DUPLICATE KEY UPDATE id = last_insert_id( `a` . `id` )", before: touched},
		{text: "INSERT INTO a (name, v) VALUES ('y', 9) ON DUPLICATE KEY UPDATE `v` = 3, `id` = LAST_INSERT_ID(`a`.`id`)", free: true},
		{text: "INSERT INTO `order` (k, n, v, w) VALUES ('A', 1, 77, NULL), ('q', 9, 8, NULL) ON DUPLICATE KEY UPDATE k = k, n = `order`.n"},
		{text: "INSERT INTO a (id, name) SELECT n, k FROM `order` ON DUPLICATE KEY UPDATE a.id = a.id", before: touched},
	})
}

// TestOnDuplicateNewKey: the new row's key is the old one's where no other key can be
// met.
func TestOnDuplicateNewKey(t *testing.T) {
	line := &fixture{
		make:   []string{"CREATE TABLE line (o INT UNSIGNED, n BIGINT, v INT DEFAULT 7, PRIMARY KEY (o, n))"},
		fill:   []string{"INSERT INTO line VALUES (1,1,1),(1,2,2),(2,1,3)"},
		tables: []string{"line"},
		hold:   []string{"UPDATE line SET v = v + 1"},
	}
	same(t, line, []sameCase{
		{text: "INSERT INTO line VALUES (1,2,9),(3,1,8) ON DUPLICATE KEY UPDATE `o`=VALUES(`o`)"},
		{text: "INSERT INTO line VALUES (1,'2',9) ON DUPLICATE KEY UPDATE n=values( n ),v=VALUES(v),o=VALUES(o)", before: "UPDATE line SET v = v + 5"},
		{text: "INSERT INTO line (o, n) VALUES (?,?) ON DUPLICATE KEY UPDATE `o`=VALUES(`o`)", args: []any{2, 1}},
		{text: "INSERT INTO line SELECT o, n + 1, 5 FROM line AS l WHERE v < 3 ON DUPLICATE KEY UPDATE o=VALUES(o), v=VALUES(v)"},
	})
}

func TestOnDuplicateMovesKey(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, u INT UNIQUE, v INT)")
		d.exec("CREATE TABLE b (id INT PRIMARY KEY, u INT)")
		d.exec("CREATE TABLE c (id VARCHAR(9) PRIMARY KEY, v INT)")
		for _, text := range []string{
			"INSERT INTO a (id, u) VALUES (1, 1) ON DUPLICATE KEY UPDATE id = id + 1",
			"INSERT INTO a (id, u) VALUES (1, 1) ON DUPLICATE KEY UPDATE id = u",
			"INSERT INTO a (id, u) VALUES (1, 1) ON DUPLICATE KEY UPDATE id = VALUES(id)",
			"INSERT INTO a (id, u) VALUES (1, 1) ON DUPLICATE KEY UPDATE v = 1, id = LAST_INSERT_ID(u)",
			"INSERT INTO a (id, u) VALUES (1, 1) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(7)",
			"INSERT INTO a (u) VALUES (1), (2) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)",
			"INSERT INTO c (id, v) VALUES ('A', 1) ON DUPLICATE KEY UPDATE id = VALUES(id)",
			"INSERT INTO c (id, v) VALUES ('A', 1) ON DUPLICATE KEY UPDATE id = VALUES(v)",
			"INSERT INTO b (id, u) VALUES (1, 1) ON DUPLICATE KEY UPDATE id = VALUES(u)",
			"INSERT INTO b (id, u) VALUES (1, 1) ON DUPLICATE KEY UPDATE id = VALUES(id) + 1",
			"INSERT INTO a (id, u) SELECT id, u FROM b ON DUPLICATE KEY UPDATE id = b.id",
		} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != "key-update" {
				t.Errorf("%s: %v, want code key-update", text, err)
			}
		}
	})
}
