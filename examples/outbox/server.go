package main

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// serveNATS starts a NATS server with JetStream on the loopback interface, in place of the
// one that you have.
func serveNATS(dir string) (url string, stop func(), err error) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir,
	})
	if err != nil {
		return "", nil, err
	}
	srv.Start()
	stop = func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if !srv.ReadyForConnections(10 * time.Second) {
		stop()
		return "", nil, errors.New("the NATS server does not start")
	}
	return srv.ClientURL(), stop, nil
}
