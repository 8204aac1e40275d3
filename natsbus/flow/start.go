package flow

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

const (
	// maxTo bounds the services of a flow.
	maxTo = 64
	// maxPayload is the server's default. It is asked for where Config.JetStream is set.
	maxPayload = 1 << 20
	// maxHead is JetStream's limit of all headers.
	maxHead = 1<<16 - 1
	// maxHeader is what headers may take beside those of Start: a flow whose messages no
	// stream takes could not even be undone.
	maxHeader = 8 << 10
)

// Start says what a flow is.
type Start struct {
	// Kind is what the services handle it as: 1 to 59 letters, digits, - and _.
	Kind string
	// To are the services whose Do must all succeed, by Config.Name: 1 to 64.
	To []string
	// Header and Body are for Do and Undo, as in outbox.Message. Together they must be 8 KiB
	// smaller than the server's max_payload, 1 MiB by default.
	Header nats.Header
	Body   []byte
	// Timeout is how long the services have to be done. After it the flow fails. Zero: 1
	// hour. At most half of Config.Keep.
	Timeout time.Duration
}

// Start writes a flow in tx, the caller's local transaction on the database of the
// service. It begins when that has committed, or when the global transaction has that it is
// part of, and never when it was rolled back. A *sql.DB outside of a global transaction is
// given a local one of its own, a *sql.Conn is refused. id names the flow.
//
// The error wraps ErrStart or outbox.ErrMessage when the flow was refused; others are the
// database's.
func (s *Service) Start(ctx context.Context, tx outbox.Tx, start Start) (id string, err error) {
	if _, global := gtx.FromContext(ctx); !global {
		switch on := tx.(type) {
		case *sql.DB: // each statement would commit by itself
			return s.startAlone(ctx, on, start)
		case *sql.Conn:
			return "", fmt.Errorf("%w: a *sql.Conn may be in no local transaction: begin one, and give that", ErrStart)
		}
	}
	if start.Timeout == 0 {
		start.Timeout = time.Hour
	}
	if err := s.check(&start); err != nil {
		return "", err
	}
	header, err := encodeHeader(start.Header)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrStart, err)
	}
	head := wireSize(start.Header)
	if limit := maxHead - maxHeader; head > limit {
		return "", fmt.Errorf("%w: its header has %d bytes: want at most %d", ErrStart, head, limit)
	}
	if size, limit := head+len(start.Body), s.payload()-maxHeader; size > limit {
		return "", fmt.Errorf("%w: header and body have %d bytes, the server takes %d", ErrStart, size, limit)
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	began := time.Now()
	e := &envelope{
		id: hex.EncodeToString(raw[:]), kind: start.Kind, op: opDo, sender: s.cfg.Name, from: s.cfg.Name,
		to: start.To, began: began.UnixMicro(),
	}
	body := start.Body
	if body == nil {
		body = []byte{} // not NULL
	}
	// The messages first: what they hold may be refused.
	for _, name := range start.To {
		if _, err := s.cfg.Outbox.Publish(ctx, tx, e.message(name, start.Header, body)); err != nil {
			return "", fmt.Errorf("start flow: %w", err)
		}
	}
	_, err = tx.ExecContext(ctx, s.text("INSERT INTO {flow} (id, sender, kind, state, error, began, deadline, due, tries, ended, end_error, header, body) VALUES (?, ?, ?, ?, '', ?, ?, ?, 0, 0, '', ?, ?)"),
		e.id, e.sender, e.kind, int(Running), e.began, began.Add(start.Timeout).UnixMicro(), began.Add(min(s.cfg.Resend, start.Timeout)).UnixMicro(), header, body)
	if err != nil {
		return "", fmt.Errorf("start flow: insert flow: %w", err)
	}
	var args []any
	for _, name := range start.To {
		args = append(args, e.id, name)
	}
	query := "INSERT INTO {to} (flow, name, state, error, at) VALUES (?, ?, 0, '', 0)" + strings.Repeat(", (?, ?, 0, '', 0)", len(start.To)-1)
	if _, err := tx.ExecContext(ctx, s.text(query), args...); err != nil {
		return "", fmt.Errorf("start flow: insert services: %w", err)
	}
	return e.id, nil
}

// wireSize is what headers take in a message.
func wireSize(h nats.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// payload is how large a message may be.
func (s *Service) payload() int {
	if s.cfg.JetStream != nil {
		if n := s.cfg.JetStream.Conn().MaxPayload(); n > 0 {
			return int(n)
		}
	}
	return maxPayload
}

func (s *Service) startAlone(ctx context.Context, db *sql.DB, start Start) (string, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", fmt.Errorf("start flow: begin local transaction: %w", err)
	}
	defer tx.Rollback()
	id, err := s.Start(ctx, tx, start)
	if err != nil {
		return "", err
	}
	if err := tx.Commit(); err != nil {
		return "", fmt.Errorf("start flow: commit: %w", err)
	}
	return id, nil
}

func (s *Service) check(start *Start) error {
	switch {
	case !nameOK.MatchString(start.Kind):
		return fmt.Errorf("%w: Kind %.100q: want 1 to 59 letters, digits, - and _", ErrStart, start.Kind)
	case len(start.To) == 0 || len(start.To) > maxTo:
		return fmt.Errorf("%w: %d services: want 1 to %d", ErrStart, len(start.To), maxTo)
	case start.Timeout < 0 || start.Timeout > s.cfg.Keep/2:
		return fmt.Errorf("%w: Timeout %s: want at most %s, half of Config.Keep", ErrStart, start.Timeout, s.cfg.Keep/2)
	}
	for i, name := range start.To {
		if !nameOK.MatchString(name) {
			return fmt.Errorf("%w: service %.100q: want 1 to 59 letters, digits, - and _", ErrStart, name)
		}
		if slices.Contains(start.To[:i], name) {
			return fmt.Errorf("%w: service %s is named twice", ErrStart, name)
		}
	}
	for name := range start.Header {
		if fold := strings.ToLower(name); strings.HasPrefix(fold, "gtx-") || strings.HasPrefix(fold, "nats-") {
			return fmt.Errorf("%w: header %.100q: names with Nats- and Gtx- are the server's and this module's", ErrStart, name)
		}
	}
	return nil
}
