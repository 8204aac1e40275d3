package mysql

import "testing"

func rows() *fixture {
	return &fixture{
		make: []string{
			"CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) CHARACTER SET utf8mb4 UNIQUE, v INT DEFAULT 7)",
			"CREATE TABLE `order` (k VARCHAR(20) CHARACTER SET utf8mb4, n INT, v INT DEFAULT 7, w DATETIME DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (k, n), UNIQUE (v))",
		},
		fill: []string{
			"INSERT INTO a VALUES (1,'a',1),(2,'b',2),(3,NULL,3)",
			"INSERT INTO `order` VALUES ('a',1,1,'2020-01-01'),('b',2,2,'2020-01-01'),('日本',3,3,'2020-01-01')",
		},
		tables: []string{"a", "`order`"},
		hold:   []string{"UPDATE a SET v = v + 1", "UPDATE `order` SET w = '2021-01-01'"},
	}
}

func TestInsertForms(t *testing.T) {
	same(t, rows(), []sameCase{
		{text: "INSERT INTO a SET name = ?, v = ?", args: []any{"é", nil}, free: true},
		{text: "INSERT a SET a.id = ?, name = 'x' -- end", args: []any{9}, free: true},
		{text: "INSERT INTO a SET id = 2, name = 'x'", before: "DELETE FROM a WHERE id = 2", free: true},
		{text: "INSERT INTO a () VALUES ()", free: true},
		{text: "INSERT a () VALUES (), (), ()", free: true},
		{text: "INSERT INTO a VALUES ()", free: true},
		{text: "INSERT a VALUES (?, ?, DEFAULT)", args: []any{0, ""}, free: true},
		{text: "INSERT INTO a (name) VALUES ROW(?), ROW('y')", args: []any{"x"}, only: "mysql", free: true},
		{text: "INSERT INTO a (id, name) VALUES ROW(8, ?), ROW(?, 'y')", args: []any{"x", 9}, only: "mysql", free: true},
		{text: "INSERT INTO a (name) VALUES ('x') AS new", only: "mysql", free: true},
		{text: "INSERT INTO a (id, name) VALUES (7, ?) AS new (i, n)", args: []any{"x"}, only: "mysql", free: true},
		{text: "INSERT LOW_PRIORITY INTO a (name) VALUE ('x')", free: true},
		{text: "INSERT `order` (n, k, v, w) VALUES (?, ?, ?, '2020-01-01')", args: []any{1, "", 9}, free: true},
		{text: "INSERT INTO `order` SET k = ?, n = ?, w = '2020-01-01'", args: []any{"日本", 4}, free: true},
	})
}
