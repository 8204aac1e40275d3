package sqltext

import (
	"strings"
	"testing"
)

// typical are statements as programs send them, five for each dialect.
var typical = []struct {
	name, text string
	d          Dialect
}{
	{"mysql/update", "UPDATE accounts SET balance = balance - ?, touched = now() WHERE id = ? AND balance >= ?", MySQL},
	{"mysql/insert", "INSERT INTO `orders` (`id`, `sku`, `n`) VALUES (?, ?, ?), (?, ?, ?) ON DUPLICATE KEY UPDATE `n` = `n` + VALUES(`n`)", MySQL},
	{"mysql/delete", "DELETE FROM sessions WHERE user_id = ? AND expires < ? ORDER BY expires LIMIT 100", MySQL},
	{"mysql/join", "UPDATE orders o JOIN stock s ON s.sku = o.sku SET s.n = s.n - o.n, o.state = 'sent' WHERE o.id = ?", MySQL},
	{"mysql/lock", "SELECT id, n FROM stock WHERE sku = ? ORDER BY n LIMIT 1 FOR UPDATE", MySQL},

	{"mariadb/update", "UPDATE `users` SET `name` = ?, `updated_at` = ? WHERE `users`.`id` = ? AND `users`.`deleted_at` IS NULL", MariaDB},
	{"mariadb/insert", "INSERT INTO orders (sku, n, note) VALUES (?, ?, 'it''s new') RETURNING id", MariaDB},
	{"mariadb/delete", "DELETE FROM carts WHERE id IN (SELECT cart_id FROM lines WHERE n = 0) RETURNING id", MariaDB},
	{"mariadb/several", "DELETE o, l FROM orders AS o LEFT JOIN lines AS l ON l.order_id = o.id WHERE o.state = ?", MariaDB},
	{"mariadb/select", "SELECT u.id, count(*) FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = ? GROUP BY u.id", MariaDB},

	{"postgres/update", "UPDATE accounts SET balance = balance - $1, touched = now() WHERE id = $2 AND balance >= $1 RETURNING balance", Postgres},
	{"postgres/insert", `INSERT INTO "orders" ("id", "sku", "n") VALUES ($1, $2, $3) ON CONFLICT ("id") DO UPDATE SET "n" = excluded."n" RETURNING "id"`, Postgres},
	{"postgres/delete", "DELETE FROM lines USING orders WHERE lines.order_id = orders.id AND orders.state = $1", Postgres},
	{"postgres/with", "WITH old AS (DELETE FROM queue WHERE id = $1 RETURNING *) INSERT INTO done (id, body) SELECT id, body FROM old", Postgres},
	{"postgres/lock", "SELECT id, args FROM jobs WHERE state = 'new' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED", Postgres},

	{"sqlite/update", "UPDATE accounts SET balance = balance - ?1, touched = CURRENT_TIMESTAMP WHERE id = ?2 AND balance >= ?1", SQLite},
	{"sqlite/insert", "INSERT INTO orders (id, sku, n) VALUES (:id, :sku, :n) ON CONFLICT (id) DO UPDATE SET n = excluded.n RETURNING id", SQLite},
	{"sqlite/delete", "DELETE FROM orders WHERE id = ? AND state = 'new'", SQLite},
	{"sqlite/replace", "INSERT OR REPLACE INTO settings (name, value) VALUES (?, json_set(?, '$.a', 1))", SQLite},
	{"sqlite/select", "SELECT id, n FROM stock WHERE sku = ? AND n > 0 ORDER BY n LIMIT 1", SQLite},
}

func BenchmarkParse(b *testing.B) {
	bench := func(name, text string, d Dialect, understood bool) {
		b.Run(name, func(b *testing.B) {
			if _, err := Parse(text, d, Mode{}); (err == nil) != understood {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Parse(text, d, Mode{})
			}
		})
	}
	for _, c := range typical {
		bench(c.name, c.text, c.d, true)
	}
	bench("rows1000", "INSERT INTO t (a, b, c) VALUES (?, ?, ?)"+strings.Repeat(", (?, ?, ?)", 999), MySQL, true)
	bench("refused", "UPDATE t SET a = 1 ORDER BY b LIMIT 1", Postgres, false)
}

// BenchmarkCache asks all processors for the same few statements.
func BenchmarkCache(b *testing.B) {
	for _, d := range []struct {
		name string
		d    Dialect
	}{{"mysql", MySQL}, {"mariadb", MariaDB}, {"postgres", Postgres}, {"sqlite", SQLite}} {
		b.Run(d.name, func(b *testing.B) {
			var texts []string
			for _, c := range typical {
				if c.d == d.d {
					texts = append(texts, c.text)
				}
			}
			var c Cache
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					_, _ = c.Parse(texts[i%len(texts)], d.d, Mode{})
				}
			})
		})
	}
}
