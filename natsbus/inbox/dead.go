package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
)

// Headers of a message at Config.DeadSubject, beside its own.
const (
	HeaderDeadInbox      = "Gtx-Dead-Inbox"      // Config.Name
	HeaderDeadID         = "Gtx-Dead-Id"         // Message.ID
	HeaderDeadSubject    = "Gtx-Dead-Subject"    // where the message came
	HeaderDeadError      = "Gtx-Dead-Error"      // of the last try
	HeaderDeadDeliveries = "Gtx-Dead-Deliveries" // a number
	HeaderDeadBody       = "Gtx-Dead-Body"       // "left out": too large with these headers
	HeaderDeadHeader     = "Gtx-Dead-Header"     // "left out": its own are too large with these
)

// DeadLetter is a message that was put aside.
type DeadLetter struct {
	ID         string
	Subject    string
	Header     nats.Header
	Size       int64 // of the body, bytes
	Error      string
	At         time.Time // when it was put aside, or the last replay has failed
	Deliveries uint64
	// Replay is set from Replay until a consumer tries.
	Replay bool
}

// Dead gives messages that are put aside, the latest first, at most limit.
func (in *Inbox) Dead(ctx context.Context, limit int) ([]DeadLetter, error) {
	return in.s.letters(gtx.Detach(ctx), limit)
}

func (s *store) letters(ctx context.Context, limit int) ([]DeadLetter, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+s.shown()+" FROM "+s.n.dead+" WHERE consumer = '"+s.consumer+"' ORDER BY at DESC, id LIMIT "+strconv.Itoa(max(0, limit)))
	if err != nil {
		return nil, fmt.Errorf("list dead messages: %w", err)
	}
	defer rows.Close()
	var all []DeadLetter
	for rows.Next() {
		l, err := scanLetter(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list dead messages: %w", err)
	}
	return all, nil
}

// shown are the columns of a DeadLetter.
func (s *store) shown() string {
	return "id, subject, header, " + s.octets() + "(body), " + s.read("error") + ", at, deliveries, replay"
}

func scanLetter(scan func(...any) error, more ...any) (l DeadLetter, err error) {
	var subject, header []byte
	var at, replay int64
	if err := scan(append([]any{&l.ID, &subject, &header, &l.Size, &l.Error, &at, &l.Deliveries, &replay}, more...)...); err != nil {
		return l, fmt.Errorf("read dead message: %w", err)
	}
	if l.Header, err = decodeHeader(header); err != nil {
		return l, fmt.Errorf("read dead message %s: %w", l.ID, err)
	}
	l.Subject, l.At, l.Replay = string(subject), time.UnixMicro(at), replay > 0
	return l, nil
}

// octets is the function that counts bytes.
func (s *store) octets() string {
	if s.d.Name() == "postgres" {
		return "octet_length"
	}
	return "length"
}

// DeadMessage gives one message that was put aside, with its body, or ErrNotDead.
func (in *Inbox) DeadMessage(ctx context.Context, id string) (*Message, error) {
	m, _, _, err := in.s.dead(gtx.Detach(ctx), id)
	return m, err
}

func (s *store) dead(ctx context.Context, id string) (m *Message, cause string, sent bool, err error) {
	if !idOK(id) {
		return nil, "", false, ErrNotDead
	}
	m = &Message{ID: id}
	var subject, header []byte
	var n int
	err = s.db.QueryRowContext(ctx, "SELECT subject, header, body, "+s.read("error")+", deliveries, sent FROM "+s.n.dead+" WHERE "+s.key(id)).
		Scan(&subject, &header, &m.Body, &cause, &m.Deliveries, &n)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, "", false, ErrNotDead
	}
	if err != nil {
		return nil, "", false, fmt.Errorf("read dead message: %w", err)
	}
	if m.Header, err = decodeHeader(header); err != nil {
		return nil, "", false, fmt.Errorf("read dead message %s: %w", id, err)
	}
	m.Subject = string(subject)
	return m, cause, n > 0, nil
}

// tellDead publishes a message that was put aside at Config.DeadSubject, before the server
// forgets it. The server drops repetitions inside the duplicate window of the stream.
func (in *Inbox) tellDead(ctx context.Context, m *Message) error {
	if in.cfg.DeadSubject == "" {
		return nil
	}
	m, cause, sent, err := in.s.dead(ctx, m.ID)
	if errors.Is(err, ErrNotDead) || sent {
		return nil // replayed or dropped meanwhile
	}
	if err != nil {
		return err
	}
	if err := in.send(ctx, m, cause); err != nil {
		return fmt.Errorf("publish dead message: %w", err)
	}
	if _, err := in.db.ExecContext(ctx, "UPDATE "+in.s.n.dead+" SET sent = 1 WHERE "+in.s.key(m.ID)); err != nil {
		return fmt.Errorf("mark dead message as published: %w", err)
	}
	return nil
}

// send publishes a dead letter, and leaves out what the stream does not take with it.
func (in *Inbox) send(ctx context.Context, m *Message, cause string) (err error) {
	body, header := true, true
	for {
		_, err = in.cfg.JetStream.PublishMsg(ctx, in.deadLetter(m, cause, body, header))
		var api *jetstream.APIError
		hasCode := errors.As(err, &api)
		switch {
		case hasCode && api.ErrorCode == errHeaderTooLarge && header:
			header = false
		case (errors.Is(err, nats.ErrMaxPayload) || hasCode && api.ErrorCode == errTooLarge) && body:
			body = false
		case (errors.Is(err, nats.ErrMaxPayload) || hasCode && api.ErrorCode == errTooLarge) && header:
			header = false
		default:
			return err
		}
	}
}

// The server's JSStreamMessageExceedsMaximumErr and JSStreamHeaderExceedsMaximumErr.
const errTooLarge, errHeaderTooLarge = 10054, 10097

func (in *Inbox) deadLetter(m *Message, cause string, body, header bool) *nats.Msg {
	out := &nats.Msg{Subject: in.cfg.DeadSubject, Header: nats.Header{}}
	if body {
		out.Data = m.Body
	} else {
		out.Header.Set(HeaderDeadBody, "left out")
	}
	if !header {
		out.Header.Set(HeaderDeadHeader, "left out")
	}
	for name, v := range m.Header {
		// Those tell the server what to do with a message (expect, expire, roll up).
		if header && !strings.HasPrefix(textproto.CanonicalMIMEHeaderKey(name), "Nats-") {
			out.Header[name] = v
		}
	}
	out.Header.Set(jetstream.MsgIDHeader, "dead/"+in.cfg.Name+"/"+m.ID)
	out.Header.Set(HeaderDeadInbox, in.cfg.Name)
	out.Header.Set(HeaderDeadID, m.ID)
	out.Header.Set(HeaderDeadSubject, m.Subject)
	out.Header.Set(HeaderDeadError, plain(cause, 1000))
	out.Header.Set(HeaderDeadDeliveries, strconv.FormatUint(m.Deliveries, 10))
	return out
}

// Replay has a message that was put aside handled once more, by a process that consumes:
// this one at once, another within seconds. It goes to nobody else: other consumers of the stream have had it. When it
// fails it stays where it is, with the new error. ErrNotDead where it is not put aside.
func (in *Inbox) Replay(ctx context.Context, id string) error {
	if !idOK(id) {
		return ErrNotDead
	}
	if n, err := in.s.ask(gtx.Detach(ctx), id); err != nil || n == 0 {
		return orNotDead(err)
	}
	select {
	case in.wanted <- struct{}{}:
	default: // one wish is enough
	}
	return nil
}

// ReplayWith handles a message that was put aside here and now. Nil: it has taken effect,
// and is not put aside any more. ErrNotDead: it is not, or somebody else replays it. Any
// other error: it has not, or it is not known; it stays where it is unless it has.
func (in *Inbox) ReplayWith(ctx context.Context, id string, fn Handler) error {
	if _, ok := gtx.FromContext(ctx); ok {
		return ErrInside
	}
	m, _, _, err := in.s.dead(ctx, id)
	if err != nil {
		return err
	}
	err = in.in(ctx, func(ctx context.Context, tx *sql.Tx, xid string) error {
		// The update of the row is what makes this the only replay.
		wctx, cancel := context.WithTimeout(ctx, in.cfg.Wait)
		defer cancel()
		res, err := tx.ExecContext(wctx, "UPDATE "+in.s.n.inbox+" SET state = "+strconv.Itoa(stateDone)+", at = "+strconv.FormatInt(now(), 10)+
			", xid = '"+xid+"' WHERE "+in.s.key(id)+" AND state = "+strconv.Itoa(stateDead))
		if err != nil {
			return fmt.Errorf("claim dead message: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrNotDead)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+in.s.n.dead+" WHERE "+in.s.key(id)); err != nil {
			return fmt.Errorf("delete dead message: %w", err)
		}
		if in.cfg.Context != nil {
			ctx = in.cfg.Context(ctx, m.Header)
		}
		return run(ctx, tx, m, fn)
	})
	if err == nil {
		in.counts.replayed.Add(1)
		return nil
	}
	if errors.Is(err, ErrNotDead) {
		return err
	}
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.Wait)
	defer cancel()
	// A wish that came meanwhile stays.
	_, noted := in.db.ExecContext(cctx, "UPDATE "+in.s.n.dead+" SET error = "+in.s.lit(plain(err.Error(), maxError))+", at = "+strconv.FormatInt(now(), 10)+" WHERE "+in.s.key(id))
	return errors.Join(err, noted)
}

// Drop forgets a message that was put aside. It does not take effect any more, also when it
// is delivered again within Config.Keep. ErrNotDead where it is not put aside.
func (in *Inbox) Drop(ctx context.Context, id string) error {
	return in.s.drop(gtx.Detach(ctx), id, nil)
}

// orNotDead is the error of what has changed nothing.
func orNotDead(err error) error {
	if err == nil {
		err = ErrNotDead
	}
	return err
}

// ask asks for the replay of a message, and gives 0 where it is not put aside.
func (s *store) ask(ctx context.Context, id string) (int64, error) {
	res, err := s.db.ExecContext(ctx, "UPDATE "+s.n.dead+" SET replay = "+strconv.FormatInt(now(), 10)+" WHERE "+s.key(id))
	if err != nil {
		return 0, fmt.Errorf("ask for replay: %w", err)
	}
	return res.RowsAffected()
}

// drop bars a message that is put aside, and records it where record is not nil.
func (s *store) drop(ctx context.Context, id string, record func(tx *sql.Tx) error) error {
	if !idOK(id) {
		return ErrNotDead
	}
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	res, err := tx.ExecContext(ctx, "UPDATE "+s.n.inbox+" SET state = "+strconv.Itoa(stateBarred)+", at = "+strconv.FormatInt(now(), 10)+
		" WHERE "+s.key(id)+" AND state = "+strconv.Itoa(stateDead))
	if err != nil {
		return fmt.Errorf("bar dead message: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return orNotDead(err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+s.n.dead+" WHERE "+s.key(id)); err != nil {
		return fmt.Errorf("delete dead message: %w", err)
	}
	if record != nil {
		if err := record(tx); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
