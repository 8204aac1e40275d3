package proxy

import (
	"database/sql/driver"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
)

// wrapping is what Wrap returns, whatever else that offers.
type wrapping interface{ wrapped() *conn }

func (c *conn) wrapped() *conn { return c }

// Unwrap gives the innermost connection of one that Wrap has made, or that a
// wrapper with a method Raw() driver.Conn has, in any order. A connection without
// either is given back.
//
// While a local transaction of a global one is open the error is a
// *gtx.UnsupportedError with code "raw". Outside, what was known of the session is
// forgotten: it may be another when the connection comes back. So use what Unwrap
// returns within sql.Conn.Raw only, and unwrap anew the next time.
func Unwrap(c any) (driver.Conn, error) {
	for {
		switch w := c.(type) {
		case wrapping:
			base, err := w.wrapped().lend()
			if err != nil {
				return nil, err
			}
			c = base
		case interface{ Raw() driver.Conn }:
			c = w.Raw()
		case driver.Conn:
			return w, nil
		default:
			return nil, fmt.Errorf("unwrap connection: %T is none", c)
		}
	}
}

// lend gives the base connection to somebody who may do with it what he likes.
func (c *conn) lend() (driver.Conn, error) {
	switch {
	case c.bad:
		return nil, driver.ErrBadConn
	case c.tx != nil && !c.tx.guard:
		return nil, &gtx.UnsupportedError{
			Code: "raw", Reason: "what is done on the base connection while a local transaction of a global one is open could not be undone",
			Hint: "do it outside of the global transaction, or send it as a statement",
		}
	}
	c.statements.Clear()
	c.res.forgetTables()
	c.forgetSession()
	c.touched, c.custom = true, true
	switch c.res.Dialect.Name() {
	case "sqlite":
		c.apart = true
	case "mysql":
		c.strayed = true
	}
	return c.base, nil
}
