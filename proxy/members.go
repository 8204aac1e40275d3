package proxy

import (
	"context"
	"slices"

	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Writes tells whether a member of a statement's WITH list writes.
func Writes(s *sqltext.Statement) bool {
	return slices.ContainsFunc(s.CTEs, func(c sqltext.CTE) bool { return c.Write != nil })
}

// members finds the tables that the WITH list of s changes, parallel to s.CTEs;
// nil where none of them writes.
func (c *conn) members(ctx context.Context, s *sqltext.Statement) ([]*undo.Table, error) {
	if !Writes(s) {
		return nil, nil
	}
	tables := make([]*undo.Table, len(s.CTEs))
	for i, cte := range s.CTEs {
		if cte.Write == nil {
			continue
		}
		t, err := c.target(ctx, cte.Write.Target().Name)
		if err != nil {
			return nil, err
		}
		tables[i] = t
	}
	return tables, nil
}
