package gtxnats

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/report"
)

// Request sends msg to msg.Subject and waits for one reply, as
// nats.Conn.RequestMsgWithContext does; if ctx carries a global transaction, it
// takes whoever replies into it. msg stays as it is. ctx needs a deadline, or a way
// to be cancelled.
//
// The error is an *Error if the service replied with one, or what the connection
// says: nats.ErrNoResponders when nobody has the request. Inside a transaction it
// may be gtx.ErrEnded, ErrNotJoined or ErrBadReport, too. The XID goes to whoever
// may subscribe to the subject.
func Request(ctx context.Context, nc *nats.Conn, msg *nats.Msg) (*nats.Msg, error) {
	if msg == nil {
		return nil, fmt.Errorf("request: %w", nats.ErrInvalidMsg)
	}
	tx, ok := gtx.FromContext(ctx)
	if !ok {
		reply, err := nc.RequestMsgWithContext(ctx, msg)
		if err == nil {
			err = errorOf(reply)
		}
		if err != nil {
			return nil, fmt.Errorf("request %s: %w", msg.Subject, err)
		}
		return reply, nil
	}
	reply, err := request(ctx, tx, nc, msg)
	if err != nil {
		return nil, fmt.Errorf("request %s in global transaction %s: %w", msg.Subject, tx.XID(), err)
	}
	return reply, nil
}

func request(ctx context.Context, tx *gtx.Tx, nc *nats.Conn, msg *nats.Msg) (*nats.Msg, error) {
	if err := tx.Active(); err != nil {
		return nil, err
	}
	tx.Share()
	out := with(with(msg, HeaderXID, tx.XID().String()), HeaderMode, report.FormatMode(tx.ModeFor(ctx)))
	reply, err := nc.RequestMsgWithContext(ctx, out)
	if err != nil {
		return nil, err
	}
	if err := after(tx, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// after takes over the peer's branches. An error without a report says nothing:
// what the peer registered stays open, and rule C1 aborts.
func after(tx *gtx.Tx, reply *nats.Msg) error {
	peerErr := errorOf(reply)
	switch v := values(reply.Header, HeaderBranches); len(v) {
	case 1:
		confirmed, dead, err := report.Parse(v[0], tx.XID())
		if err == nil {
			tx.Report(confirmed, dead)
			return peerErr
		}
		if peerErr != nil {
			return fmt.Errorf("%w; it failed: %w", err, peerErr)
		}
		return err
	case 0:
		// Success without a report means that work was done by somebody who did not
		// join.
		if peerErr == nil {
			return fmt.Errorf("%w: reply without header %s", ErrNotJoined, HeaderBranches)
		}
		return peerErr
	default:
		return fmt.Errorf("%w: %d headers %s", ErrBadReport, len(v), HeaderBranches)
	}
}

// Publish sends a message that nobody has to answer, as nats.Conn.PublishMsg does.
// Inside a global transaction it returns a *gtx.UnsupportedError with CodePublish
// and nothing is sent: a message cannot be taken back by an abort, and what its
// receivers do could not be reported.
func Publish(ctx context.Context, nc *nats.Conn, msg *nats.Msg) error {
	if msg == nil {
		return fmt.Errorf("publish: %w", nats.ErrInvalidMsg)
	}
	tx, ok := gtx.FromContext(ctx)
	if !ok {
		return nc.PublishMsg(msg)
	}
	if err := tx.Active(); err != nil {
		return fmt.Errorf("publish to %s in global transaction %s: %w", msg.Subject, tx.XID(), err)
	}
	return &gtx.UnsupportedError{
		Code:   CodePublish,
		Reason: fmt.Sprintf("a message to %s that nobody has to answer", msg.Subject),
		Hint: "use an outbox: insert it into a table in the transaction and publish it from there after the commit; " +
			"or ask with Request; gtx.Detach(ctx) publishes at once, whatever becomes of the transaction",
	}
}
