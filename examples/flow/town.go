package main

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// town is where the services are. They share nothing but the NATS server.
type town struct {
	dir string
	nc  *nats.Conn
	all []*service
}

// service is one with a database of its own.
type service struct {
	*flow.Service
	db   *sql.DB
	box  *outbox.Outbox
	stop func() error // waits until Run has returned
}

func (t *town) open(ctx context.Context, name, schema string) (_ *service, err error) {
	s := &service{stop: func() error { return nil }}
	if s.db, err = sql.Open("gtx-sqlite", filepath.Join(t.dir, name+".db")+"?_pragma=busy_timeout(5000)"); err != nil {
		return nil, err
	}
	t.all = append(t.all, s)
	if _, err := s.db.ExecContext(ctx, schema); err != nil {
		return nil, err
	}
	js, err := jetstream.New(t.nc)
	if err != nil {
		return nil, err
	}
	if s.box, err = outbox.Open(ctx, s.db, outbox.Config{Conn: t.nc}); err != nil {
		return nil, err
	}
	s.Service, err = flow.Open(ctx, s.db, flow.Config{Name: name, Outbox: s.box, JetStream: js})
	return s, err
}

// run takes part in flows until the town is closed.
func (s *service) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = func() error {
		cancel()
		return <-done
	}
}

func (t *town) close() (err error) {
	for _, s := range t.all {
		err = errors.Join(err, s.stop())
		if s.box != nil {
			err = errors.Join(err, s.box.Close())
		}
		err = errors.Join(err, s.db.Close())
	}
	return err
}
