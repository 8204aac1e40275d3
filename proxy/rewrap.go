package proxy

import (
	"context"
	"database/sql/driver"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/xa"
)

// memo is what is known of a session that the program has left as it was opened.
type memo struct {
	inspected, guardable, committed bool

	flavour sqltext.Dialect
	mode    sqltext.Mode
	names   map[sqltext.Name]string
}

// memo is nil where the session may be another than one that is opened now, or where
// something is still open on it. What else touches it (changesTables) commits by itself
// where branches are tied.
func (c *conn) memo() any {
	if c.custom || c.strayed || c.apart || c.open > 0 {
		return nil
	}
	return &memo{c.inspected, c.guardable, c.committed, c.flavour, c.mode, c.names}
}

// recall takes over what is known of the base connection.
func (c *conn) recall(known any) {
	if m, ok := known.(*memo); ok {
		c.inspected, c.guardable, c.committed, c.flavour, c.mode, c.names = m.inspected, m.guardable, m.committed, m.flavour, m.mode, m.names
	}
}

// Rewrap is Wrap for a connection that has been wrapped before, with what was known of
// it then (xa.Resolver.Spare).
func Rewrap(base driver.Conn, res *Resource, known any) driver.Conn {
	c := &conn{base: base, at: interfacesOf(base), res: res, names: map[sqltext.Name]string{}}
	c.recall(known)
	return offered(c)
}

// giveBase leaves the base connection, on which n has been prepared and which can do
// nothing but end it, to the resolver. Another one takes its place, so that a sql.Conn of
// the program goes on; where that would show, the pool has to open a new one.
func (c *conn) giveBase(ctx context.Context, n xa.Name, coord gtx.Coordinator) {
	p, known := c.res.Preparing, c.memo()
	p.Resolver.Keep(n, c.base, known, coord)
	c.names = map[sqltext.Name]string{} // the other is the memo's now
	var next driver.Conn
	var memory any
	if known != nil {
		var err error
		if next, memory, err = p.Open(ctx); err != nil {
			c.res.Logger.Debug("open connection in place of a prepared one", "err", err)
		}
	}
	if next == nil {
		c.bad, c.given = true, true
		return
	}
	c.base, c.at = next, interfacesOf(next)
	c.forgetSession()
	c.recall(memory)
}
