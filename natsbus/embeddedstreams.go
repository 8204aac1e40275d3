package natsbus

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// ownAccount holds the streams of the program. It is the name of a directory: do not
	// change.
	ownAccount = "PROGRAM"
	// ownBytes is the default of WithStreamBytes.
	ownBytes = 8 << 30
)

// ownStreams is the part of an embedded server that belongs to the program. It is an account
// of its own: whatever the program does there, the log of the coordinator is out of its sight.
type ownStreams struct {
	user  *server.User
	bytes int64
	log   *slog.Logger

	// mu protects the following.
	mu    sync.Mutex
	nc    *nats.Conn
	ended bool
}

// Conn gives a connection to the embedded server for the program's own subjects and streams:
// what natsbus/outbox and natsbus/inbox need, without a server of NATS beside. It is for this
// process only, also with Listen. The streams are kept in the directory of the Bus, each
// message on disk before it is acknowledged; subjects and names are the program's, since the
// coordinator has an account of its own. WithStreamBytes bounds what they hold.
//
// It is one connection for all callers, which keeps nothing to send later, and ends with
// Close: close what uses it before. An error where the Bus is closed, or was made by Connect,
// whose NATS the program reaches by itself.
func (b *Bus) Conn() (*nats.Conn, error) {
	if b.host == nil {
		return nil, errors.New("connect to own streams: the bus is not embedded: connect to the NATS that it was given")
	}
	nc, err := b.host.own.conn(b.host.srv)
	if err != nil {
		return nil, fmt.Errorf("connect to own streams: %w", err)
	}
	return nc, nil
}

func (o *ownStreams) conn(srv *server.Server) (*nats.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ended:
		return nil, ErrClosed
	case o.nc != nil && !o.nc.IsClosed():
		return o.nc, nil
	}
	account, err := srv.LookupAccount(ownAccount)
	if err != nil {
		return nil, fmt.Errorf("look up account: %w", err)
	}
	if !account.JetStreamEnabled() {
		limits, err := o.limits(srv)
		if err == nil {
			err = enableStreams(account, limits)
		}
		if err != nil {
			return nil, err
		}
	}
	log := o.log
	if log == nil {
		log = slog.Default()
	}
	o.nc, err = dial("", log, nats.InProcessServer(srv), nats.UserInfo(o.user.Username, o.user.Password))
	return o.nc, err
}

// limits leave room to the log: a decision that finds no place is worse than a message that
// waits for one. Called when the log is there, whose room is reserved.
func (o *ownStreams) limits(srv *server.Server) (map[string]server.JetStreamAccountLimits, error) {
	_, reserved, err := srv.JetStreamReservedResources()
	if err != nil {
		return nil, fmt.Errorf("look for room: %w", err)
	}
	bytes := o.bytes
	if bytes <= 0 {
		bytes = ownBytes
	}
	left := (srv.JetStreamConfig().MaxStore - reserved) / 2
	if left <= 0 {
		return nil, errors.New("the disk has no room beside the decision log: see WithMaxBytes")
	}
	// Zero is none, -1 any number.
	return map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: -1, MaxStore: min(bytes, left), MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1,
		MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}}, nil
}

// enableStreams restores the streams of an account, too. No limits: those of the server.
func enableStreams(a *server.Account, limits map[string]server.JetStreamAccountLimits) error {
	if err := a.EnableJetStream(limits, nil); err != nil {
		return fmt.Errorf("enable streams of account %s: %w", a.GetName(), err)
	}
	return nil
}

func (o *ownStreams) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	if o.nc != nil {
		o.nc.Close()
	}
}
