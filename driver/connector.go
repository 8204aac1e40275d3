package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"sync/atomic"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

var (
	_ driver.Connector = (*connector)(nil)
	_ io.Closer        = (*connector)(nil)
)

// connector is what one sql.DB holds of us. Closing the sql.DB closes it.
type connector struct {
	drv    driver.Driver
	base   driver.Connector
	own    driver.Connector // of phase two, nil where it is base
	res    *proxy.Resource
	phase2 *service
	look   *sql.DB // nil where it is not needed
	closed atomic.Bool
}

func newConnector(drv driver.Driver, b Base, s settings) *connector {
	c := &connector{base: b.Connector}
	rc := b.Resolver
	if rc == nil {
		rc = b.Connector
	} else if !sameValue(rc, b.Connector) {
		c.own = rc
	}
	rc = unclosed{rc}
	c.phase2 = newService(sql.OpenDB(rc), b.Dialect, b.Refuse, s)
	c.drv = &counted{Driver: drv, phase2: c.phase2}
	var look undo.Query
	if !b.Dialect.SeesNow() {
		c.look = newLook(rc)
		look = freshly(c.look)
	}
	var two *proxy.Preparing
	if p := c.phase2.prepared; p != nil {
		two = &proxy.Preparing{Dialect: b.Dialect.(preparing).XA(), Resolver: p, Look: look, Open: c.open} //nolint:errcheck // where there is one it is
		if look == nil {
			two.Look = undo.QueryDB(c.phase2.db)
		}
	}
	c.res = proxy.NewResource(proxy.Config{
		Dialect:   b.Dialect,
		Enter:     c.phase2.enter,
		Settle:    c.phase2.settle,
		Resolve:   c.phase2.resolve,
		Present:   c.phase2.present,
		Look:      look,
		Preparing: two,
		Skip:      b.Skip,
		Alone:     b.Alone,
		// Where there are no global transactions there is nothing to guard against.
		Guard:       s.guard && b.Refuse == nil,
		Coordinator: c.phase2.coordinator,
		LockWait:    s.lockWait,
		Logger:      s.logger,
	})
	return c
}

// unclosed hides that a connector can be closed: it is closed once, by Close, and
// not by each sql.DB that uses it.
type unclosed struct{ driver.Connector }

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, known, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	return proxy.Rewrap(conn, c.res, known), nil
}

// open gives a base connection, one that has ended its prepared branch where there is
// one, and then with what is known of it.
func (c *connector) open(ctx context.Context) (conn driver.Conn, known any, err error) {
	if p := c.phase2.prepared; p != nil {
		if spare, known := p.Spare(ctx); spare != nil {
			return spare, known, nil
		}
	}
	if conn, err = c.base.Connect(ctx); err != nil {
		return nil, nil, err
	}
	c.phase2.first()
	return conn, nil, nil
}

// Driver gives the driver that has made c, for sql.DB.Driver. Its Open and
// OpenConnector give databases that take part in global transactions, too.
func (c *connector) Driver() driver.Driver { return c.drv }

// Close stops phase two, then closes what the base driver has given. The base
// driver's error stays as it is where it is the only one. It may be called twice.
func (c *connector) Close() error {
	all := []error{c.phase2.close()}
	if c.look != nil {
		all = append(all, c.look.Close())
	}
	if !c.closed.Swap(true) {
		all = append(all, closeAll(c.base, c.own)...)
	}
	return joined(all)
}

// joined leaves an error as it is where it is the only one.
func joined(all []error) error {
	all = slices.DeleteFunc(all, func(err error) bool { return err == nil })
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

// closeAll closes a base driver's connectors, as far as they can be closed, each
// once.
func closeAll(base, resolver driver.Connector) (all []error) {
	if cl, ok := base.(io.Closer); ok {
		all = append(all, cl.Close())
	}
	if cl, ok := resolver.(io.Closer); ok && !sameValue(base, resolver) {
		all = append(all, cl.Close())
	}
	return all
}
