package proxy

import (
	"context"
	"database/sql/driver"
)

// Alone hides that connections, opened as capture needs them, take several
// statements in one text where the program's would take one. It is asked about
// texts with a semicolon only.
type Alone interface {
	// Text gives what to send for text, mostly text itself, so that the connection
	// answers as the program's would, or the error that it would answer. It does not
	// run what it is not sure to be one statement.
	Text(ctx context.Context, c driver.Conn, text string) (send string, err error)

	// Error gives the error that the program's connection would have answered where
	// err was the answer to another text than text.
	Error(ctx context.Context, c driver.Conn, text string, err error) error
}

// execAlone runs a text with a semicolon.
func (c *conn) execAlone(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	send, err := c.res.Alone.Text(ctx, c.base, text)
	if err != nil {
		return nil, err
	}
	c.ran(text)
	res, err := c.at.execute(ctx, send, args)
	if err != nil && send != text {
		err = c.res.Alone.Error(ctx, c.base, text, err)
	}
	return res, err
}

// queryAlone is execAlone for what gives rows.
func (c *conn) queryAlone(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	send, err := c.res.Alone.Text(ctx, c.base, text)
	if err != nil {
		return nil, err
	}
	c.ran(text)
	rows, err := c.at.rows(ctx, send, args)
	if err != nil && send != text {
		err = c.res.Alone.Error(ctx, c.base, text, err)
	}
	return rows, err
}
