package gtx

import (
	"context"
	"fmt"
)

// Mode is how branches wait for the decision. The numbers travel on the wire: do
// not reorder.
type Mode uint8

const (
	// AT: branches commit locally at once, with undo rows that bring the rows back.
	AT Mode = iota
	// XA: two-phase commit. Branches are prepared, the database keeps their locks until
	// the decision.
	XA
	// ThreePhase: as XA, with two rounds more. Every participant is asked for its vote
	// before anything is locked (CanCommit), and all of them know that all are prepared
	// before anybody commits (PreCommit).
	ThreePhase
)

func (m Mode) String() string {
	switch m {
	case AT:
		return "AT"
	case XA:
		return "XA"
	case ThreePhase:
		return "3PC"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// WithMode sets the mode of the transaction's branches. Zero: AT. With ThreePhase
// goes [WithResources].
func WithMode(m Mode) Option { return func(o *options) { o.mode = m } }

type modeKey struct{}

// InMode gives a context whose branches are of mode m, AT or XA, whatever that of the
// transaction is: for a database that cannot prepare, say, in an XA transaction. A
// local transaction has the mode of the context of its BeginTx.
func InMode(ctx context.Context, m Mode) context.Context {
	return context.WithValue(ctx, modeKey{}, m)
}

// modeless drops what InMode has set for another transaction.
func modeless(ctx context.Context) context.Context {
	if ctx.Value(modeKey{}) == nil {
		return ctx
	}
	return context.WithValue(ctx, modeKey{}, nil)
}

// ModeFor is the mode of a branch of tx that is begun with ctx.
func (tx *Tx) ModeFor(ctx context.Context) Mode {
	m, ok := ctx.Value(modeKey{}).(Mode)
	if !ok || tx.mode == ThreePhase {
		return tx.mode
	}
	return m
}

// Mode of the transaction.
func (tx *Tx) Mode() Mode { return tx.mode }
