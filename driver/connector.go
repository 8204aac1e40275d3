package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"

	"github.com/globaltx/globaltx/proxy"
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
}

func newConnector(drv driver.Driver, b Base, s settings) *connector {
	c := &connector{drv: drv, base: b.Connector}
	rc := b.Resolver
	if rc == nil {
		rc = b.Connector
	}
	c.phase2 = newService(sql.OpenDB(rc), b.Dialect, b.Refuse, s)
	c.res = proxy.NewResource(proxy.Config{
		Dialect:  b.Dialect,
		Enter:    c.phase2.enter,
		Settle:   c.phase2.settle,
		Resolve:  c.phase2.resolve,
		Skip:     b.Skip,
		LockWait: s.lockWait,
		Logger:   s.logger,
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
	if cl, ok := c.base.(io.Closer); ok {
		if cerr := cl.Close(); err == nil {
			err = cerr
		}
	}
	return err
}
