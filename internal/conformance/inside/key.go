package inside

import (
	"context"
	"fmt"
)

// keyless lists MariaDB's tables without a primary key; on MySQL it gives none.
const keyless = `SELECT t.table_name FROM information_schema.tables t
	WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND t.table_name NOT LIKE 'gtx\_%' AND VERSION() LIKE '%MariaDB%'
	AND NOT EXISTS (SELECT 1 FROM information_schema.statistics s
		WHERE s.table_schema = t.table_schema AND s.table_name = t.table_name AND s.index_name = 'PRIMARY')`

// invisible is a key in a column that no SELECT * shows and no INSERT has to name.
const invisible = " ADD COLUMN gtx_key BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY"

// key gives a key to tables that the suite has just made without one, where the server
// knows invisible columns but does not add them by itself: that is MariaDB. A table
// that cannot have it, since another column counts up, stays as it is, and capture
// refuses what is written to it.
func (s *session) key(src *source) {
	if src.base != "mysql" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tg, err := s.target(src)
	if err == nil {
		err = tg.key()
	}
	if err != nil && len(s.tests) > 0 {
		s.tests[0].Errorf("inside: add a key: %v", err)
	}
}

func (tg *target) key() error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	c, err := tg.conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var tables []string
	rows, err := c.QueryContext(ctx, keyless)
	if err != nil {
		return fmt.Errorf("list tables without a key: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list tables without a key: %w", err)
	}
	for _, name := range tables {
		_, _ = c.ExecContext(ctx, "ALTER TABLE "+tg.ident(name)+invisible) // see above
	}
	return nil
}
