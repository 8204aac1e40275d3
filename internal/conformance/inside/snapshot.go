package inside

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// snapshot is all rows of all tables of a database.
type snapshot struct {
	tables map[string]*table
	// unread are tables that may not be read, or vanished meanwhile.
	unread map[string]error
}

type table struct {
	schema, name string
	columns      []string
	query        string
	rows         [][]string
}

func (t *table) String() string {
	if t.schema == "" {
		return t.name
	}
	return t.schema + "." + t.name
}

// snapshot reads the database.
func (tg *target) snapshot() (*snapshot, error) {
	s := &snapshot{}
	err := tg.look(func(ctx context.Context, c *sql.Conn, all map[string]*table) {
		s.tables, s.unread = all, map[string]error{}
		for name, t := range all {
			tg.fill(ctx, c, s, name, t)
		}
	})
	return s, err
}

// refresh brings a snapshot of an open segment up to date with DDL that ran outside
// it: tables have come or gone, and those that it names were not written.
func (tg *target) refresh(s *snapshot, ddl text) error {
	return tg.look(func(ctx context.Context, c *sql.Conn, all map[string]*table) {
		for name := range s.tables {
			if all[name] == nil {
				delete(s.tables, name)
			}
		}
		for name, t := range all {
			if s.tables[name] == nil || ddl.mentions([]string{strings.ToLower(t.name)}) {
				tg.fill(ctx, c, s, name, t)
			}
		}
	})
}

// look gives do the tables, not their rows, and a connection of the base driver.
func (tg *target) look(do func(context.Context, *sql.Conn, map[string]*table)) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	c, err := tg.conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := tg.list(ctx, c)
	if err != nil {
		return fmt.Errorf("list tables of %s: %w", tg.name, err)
	}
	do(ctx, c, all)
	return ctx.Err()
}

func (tg *target) list(ctx context.Context, c *sql.Conn) (map[string]*table, error) {
	rows, err := c.QueryContext(ctx, tg.columns)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]*table{}
	exprs := map[string][]string{}
	for rows.Next() {
		var schema, name, column, typ string
		if err := rows.Scan(&schema, &name, &column, &typ); err != nil {
			return nil, err
		}
		t := &table{schema: schema, name: name}
		if have := all[t.String()]; have != nil {
			t = have
		}
		all[t.String()] = t
		if column != "" {
			t.columns = append(t.columns, column)
			exprs[t.String()] = append(exprs[t.String()], tg.exact(tg.ident(column), typ))
		}
	}
	for name, t := range all {
		from := tg.ident(t.name)
		if t.schema != "" {
			from = tg.ident(t.schema) + "." + from
		}
		list := append([]string{"1"}, exprs[name]...) // a table may have no columns
		t.query = "SELECT " + strings.Join(list, ", ") + " FROM " + tg.only + from
	}
	return all, rows.Err()
}

func (tg *target) fill(ctx context.Context, c *sql.Conn, s *snapshot, name string, t *table) {
	delete(s.unread, name)
	var err error
	if t.rows, err = tg.read(ctx, c, t.query); err != nil {
		s.unread[name] = err
	}
	slices.SortFunc(t.rows, slices.Compare[[]string])
	s.tables[name] = t
}
