package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"

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
	res    *proxy.Resource
	phase2 *service
	look   *sql.DB // nil where it is not needed
}

func newConnector(drv driver.Driver, b Base, s settings) *connector {
	c := &connector{drv: drv, base: b.Connector}
	rc := b.Resolver
	if rc == nil {
		rc = b.Connector
	}
	c.phase2 = newService(sql.OpenDB(rc), b.Dialect, b.Refuse, s)
	c.drv = &counted{Driver: drv, phase2: c.phase2}
	var look undo.Query
	if !b.Dialect.SeesNow() {
		c.look = newLook(rc)
		look = freshly(c.look)
	}
	c.res = proxy.NewResource(proxy.Config{
		Dialect: b.Dialect,
		Enter:   c.phase2.enter,
		Settle:  c.phase2.settle,
		Resolve: c.phase2.resolve,
		Present: c.phase2.present,
		Look:    look,
		Skip:    b.Skip,
		// Where there are no global transactions there is nothing to guard against.
		Guard:       s.guard && b.Refuse == nil,
		Coordinator: c.phase2.coordinator,
		LockWait:    s.lockWait,
		Logger:      s.logger,
	})
	return c
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.base.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c.phase2.first()
	return proxy.Wrap(conn, c.res), nil
}

func (c *connector) Driver() driver.Driver { return c.drv }

// Close stops phase two. It may be called twice.
func (c *connector) Close() error {
	err := c.phase2.close()
	if c.look != nil {
		err = errors.Join(err, c.look.Close())
	}
	if cl, ok := c.base.(io.Closer); ok {
		if cerr := cl.Close(); err == nil {
			err = cerr
		}
	}
	return err
}
