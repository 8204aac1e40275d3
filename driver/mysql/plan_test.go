package mysql

import (
	"fmt"
	"strings"
	"testing"
)

// TestPlansAreLinear counts what the storage engine reads for a captured statement
// of many rows. A subquery that walks gtx_undo for every row is quadratic: nobody
// sees it with ten rows, and nobody waits for it with 100,000.
func TestPlansAreLinear(t *testing.T) {
	const rows = 400
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, n INT, u INT UNIQUE, s VARCHAR(20))")
		d.exec("CREATE TABLE b (id INT PRIMARY KEY, n INT)")
		var values, fresh []string
		for id := 1; id <= rows; id++ {
			values = append(values, fmt.Sprintf("(%d,%d)", id, id))
			fresh = append(fresh, fmt.Sprintf("(%d,%d)", id+rows, id+rows))
		}
		list := strings.Join(values, ",")
		d.exec("INSERT INTO a (id,u) VALUES " + list)
		d.exec("INSERT INTO b (id,n) VALUES " + list)
		d.exec("ANALYZE TABLE a, b")
		for _, text := range []string{
			"UPDATE a SET n = 1",
			"UPDATE a SET n = 1 WHERE id BETWEEN 1 AND 400",
			"UPDATE a SET n = 1 WHERE u > 0",
			"UPDATE a SET n = 1 ORDER BY id LIMIT 400",
			"DELETE FROM a",
			"DELETE FROM a WHERE id > 0 ORDER BY id DESC LIMIT 400",
			"UPDATE a JOIN b ON a.id = b.id SET a.n = 1, b.n = 2",
			"DELETE a FROM a JOIN b ON a.id = b.id",
			"INSERT IGNORE INTO a (id,u) VALUES " + list,
			"INSERT INTO a (id,u) VALUES " + list + " ON DUPLICATE KEY UPDATE n = 1",
			"REPLACE INTO a (id,u) VALUES " + list,
			"INSERT INTO a (id,u) VALUES " + strings.Join(fresh, ","),
		} {
			b := d.branch(newXID())
			before := b.read()
			if _, err := b.run(text); err != nil {
				t.Errorf("%.60s: %v", text, err)
				continue
			}
			if n := b.read() - before; n > 30*rows {
				t.Errorf("%.60s: %d reads for %d rows", text, n, rows)
			}
			if _, err := b.c.ExecContext(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// read counts how often the session has asked the storage engine for a row.
func (b *branch) read() (n int64) {
	b.d.Helper()
	rows, err := b.c.QueryContext(b.d.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
	if err != nil {
		b.d.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var k int64
		if err := rows.Scan(&name, &k); err != nil {
			b.d.Fatal(err)
		}
		n += k
	}
	return n
}
