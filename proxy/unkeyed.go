package proxy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// keyed are the reasons why rows of a table are not captured although they are
// its own: none is held, or they were captured before the reason came up, and any
// undo row of the table counts.
var keyed = []string{
	"no-key", "key-type", "key-prefix", "column-type", "collation", "trigger", "rule", "cascade", "row-security",
	"unlogged", "temporary", "engine", "on-conflict",
}

// source finds a table that is read; nil when its rows cannot be told apart.
func (c *conn) source(ctx context.Context, name sqltext.Name) (id string, t *undo.Table, err error) {
	if id, ok := c.names[name]; ok && c.res.isUnkeyed(id) {
		return id, nil, nil
	}
	t, err = c.target(ctx, name)
	if err == nil {
		return t.ID, t, nil
	}
	var no *gtx.UnsupportedError
	id, ok := c.names[name]
	if !ok || !errors.As(err, &no) || !slices.Contains(keyed, no.Code) {
		return "", nil, err
	}
	c.res.setUnkeyed(id)
	return id, nil, nil
}

// isUnkeyed tells whether rows of a table were found, not long ago, to be such
// that they cannot be told apart.
func (r *Resource) isUnkeyed(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.unkeyed[id])
}

func (r *Resource) setUnkeyed(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unkeyed[id] = time.Now().Add(tableTTL)
}
