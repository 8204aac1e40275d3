package main

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Passwords of an example: the server is gone when the command ends.
const northPassword, southPassword = "of-the-north", "of-the-south"

// serveNATS starts a NATS server on the loopback interface, in place of the one
// that you have. Its permissions say who may ask the southern bank, and who may
// answer: a report of branches is believed from whoever can send the reply.
func serveNATS() (url string, stop func(), err error) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		Users: []*server.User{
			{Username: "north", Password: northPassword, Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{subjectDeposit}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
			{Username: "south", Password: southPassword, Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
				Subscribe: &server.SubjectPermission{Allow: []string{subjectDeposit}},
			}},
		},
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
