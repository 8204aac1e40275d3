package bench

import (
	"fmt"

	"github.com/globaltx/globaltx/undo"
)

// work is a kind of statement that is measured.
type work struct {
	name    string
	prepare func(b *bench) job
}

// job is one statement to time.
type job struct {
	run    undo.Statement
	repair []undo.Statement // puts the table back, not timed
	rows   int64            // that run affects
	orRows int64            // or so many: the MySQL family counts an upsert that updates as 2
}

const many = 100

var works = []work{
	{"update 1", func(b *bench) job {
		p := b.Dialect.Placeholder
		return job{run: undo.Statement{
			Text: fmt.Sprintf("UPDATE %s SET n = n + %s, t = %s WHERE id = %s", b.Table, p(1), p(2), p(3)),
			Args: []any{1, fmt.Sprint("text ", b.rng.Int32()), b.some(1)},
		}, rows: 1}
	}},
	{"update 100", func(b *bench) job {
		p, id := b.Dialect.Placeholder, b.some(many)
		return job{run: undo.Statement{
			Text: fmt.Sprintf("UPDATE %s SET n = n + %s WHERE id BETWEEN %s AND %s", b.Table, p(1), p(2), p(3)),
			Args: []any{1, id, id + many - 1},
		}, rows: many}
	}},
	{"delete 1", func(b *bench) job {
		b.turn++
		id := 1 + b.turn%int64(b.Rows)
		return job{run: undo.Statement{
			Text: fmt.Sprintf("DELETE FROM %s WHERE id = %s", b.Table, b.Dialect.Placeholder(1)), Args: []any{id},
		}, repair: []undo.Statement{b.insert(id, 1)}, rows: 1}
	}},
	{"insert 1", func(b *bench) job { return b.inserts(1) }},
	{"insert 100", func(b *bench) job { return b.inserts(many) }},
	{"upsert 1", func(b *bench) job {
		s := b.insert(b.some(1), 1)
		if b.Dialect.Name() == "mysql" {
			s.Text += " ON DUPLICATE KEY UPDATE n = " + b.Table + ".n + 1"
		} else {
			s.Text += " ON CONFLICT (id) DO UPDATE SET n = " + b.Table + ".n + 1"
		}
		return job{run: s, rows: 1, orRows: 2}
	}},
}

// some gives the first of n ids in the table.
func (b *bench) some(n int64) int64 { return 1 + b.rng.Int64N(int64(b.Rows)-n+1) }

func (b *bench) inserts(n int64) job {
	id := b.next + 1
	b.next += n
	p := b.Dialect.Placeholder
	return job{
		run: b.insert(id, n), rows: n,
		repair: []undo.Statement{{Text: fmt.Sprintf("DELETE FROM %s WHERE id BETWEEN %s AND %s", b.Table, p(1), p(2)), Args: []any{id, id + n - 1}}},
	}
}
