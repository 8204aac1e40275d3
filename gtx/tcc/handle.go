package tcc

import (
	"context"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
)

// Handle tries one action. Safe for concurrent use.
type Handle[A any] struct {
	res    *Resource
	entry  *entry
	action Action[A]
}

// Try runs the action's Try, with the arguments as they come back from JSON, in a local transaction of its own, which takes a connection of
// the database's pool, and commits it. After nil the action is confirmed or cancelled
// with the global transaction that ctx carries. After an error nothing of it stays and the
// function may go on without, unless the error says that it is not known: then the global
// transaction aborts. Without a database see [Bare]. The error wraps gtx.ErrConflict after a deadlock or a serialization
// failure, so that gtx.Run tries again.
func (h *Handle[A]) Try(ctx context.Context, args A) error {
	b, args, err := h.begin(ctx, args)
	if err != nil {
		return fmt.Errorf("try action %s: %w", h.entry.name, err)
	}
	state, err := h.res.guards.try(within(ctx, &b.guard), b.guard, b.register, func(ctx context.Context, tx Tx) error {
		return h.action.Try(ctx, tx, args)
	})
	switch state {
	case confirmed:
		b.tx.Confirm(b.ref())
	case dead:
		b.tx.Dead(b.ref())
	}
	if err != nil {
		return fmt.Errorf("try action %s: %w", h.entry.name, err)
	}
	return nil
}

// TryTx is Try in a local transaction of the caller's, on the database of the resource, which
// was begun with a context of [gtx.Detach]. What else it writes is committed with the action,
// and is not undone when the global transaction aborts. The caller commits it before the
// function of gtx.Run returns, else the global transaction aborts with gtx.ErrNotCommitted.
// After an error the caller rolls back, and the global transaction aborts.
func (h *Handle[A]) TryTx(ctx context.Context, tx Tx, args A) error {
	t, ok := h.res.guards.(*table)
	if !ok {
		return fmt.Errorf("try action %s in a local transaction: the resource %s has no database", h.entry.name, h.res.id)
	}
	if err := h.tryTx(ctx, t, tx, args); err != nil {
		return fmt.Errorf("try action %s in the caller's local transaction: %w", h.entry.name, err)
	}
	return nil
}

func (h *Handle[A]) tryTx(ctx context.Context, t *table, tx Tx, args A) error {
	if err := plain(ctx, tx); err != nil {
		return err
	}
	b, args, err := h.begin(ctx, args) // an open branch: the global transaction aborts unless it is asked for
	if err != nil {
		return err
	}
	inner := within(ctx, &b.guard)
	if err := t.insert(inner, tx, &b.guard); err != nil {
		return t.conflict(err)
	}
	kept := false
	defer func() {
		if !kept { // a caller who commits all the same must not get a Cancel
			_ = t.remove(context.WithoutCancel(inner), tx, &b.guard)
		}
	}()
	if err := b.register(inner); err != nil {
		return err
	}
	if err := h.action.Try(inner, t.watch(tx, &b.guard), args); err != nil {
		return t.conflict(err)
	}
	if err := t.still(inner, tx, &b.guard); err != nil {
		return err
	}
	kept = true
	b.tx.Ask(b.ref(), func(ctx context.Context) (bool, error) { return t.has(gtx.Detach(ctx), b.guard.xid, b.guard.branch) })
	return nil
}

// plain refuses what is not a local transaction outside the global one that ctx carries. A
// driver of this module refuses a statement of the global transaction there before it sends
// anything.
func plain(ctx context.Context, tx Tx) error {
	if _, ok := gtx.FromContext(ctx); !ok {
		return ErrOutside
	}
	_, err := tx.ExecContext(ctx, "SELECT 1")
	var no *gtx.UnsupportedError
	switch {
	case errors.As(err, &no) && no.Code == "plain-tx":
		return nil
	case err != nil:
		return err
	}
	return &gtx.UnsupportedError{
		Code: "plain-tx", Reason: "an action needs a local transaction that is not itself undone with the global one",
		Hint: "call BeginTx with gtx.Detach(ctx), on the database that was given to tcc.Open",
	}
}

// branch is one that has just been enlisted.
type branch struct {
	tx    *gtx.Tx
	guard guard
	id    gtx.ResourceID
}

func (b *branch) ref() gtx.BranchRef { return gtx.BranchRef{Resource: b.id, Branch: b.guard.branch} }

// register asks for the coordinator's ok: without it the local transaction must not commit
// (rule T2).
func (b *branch) register(ctx context.Context) error {
	if err := b.tx.Coordinator().Register(ctx, b.tx.XID(), b.ref()); err != nil {
		return fmt.Errorf("register branch: %w", err)
	}
	return nil
}

// begin opens a branch. It gives the arguments as Confirm and Cancel will get them.
func (h *Handle[A]) begin(ctx context.Context, args A) (_ *branch, stored A, _ error) {
	tx, ok := gtx.FromContext(ctx)
	if !ok {
		return nil, stored, ErrOutside
	}
	if tx.Mode() == gtx.ThreePhase {
		return nil, stored, &gtx.UnsupportedError{
			Code: "not-named", Reason: "an action gives no vote, so it cannot be part of a three-phase transaction",
			Hint: "use mode XA or AT",
		}
	}
	raw, err := encode(args)
	if err != nil {
		return nil, stored, err
	}
	// What JSON loses is lost to Try, too, so that it is seen at once.
	if stored, err = decode(h.action, h.entry.version, h.entry.version, raw); err != nil {
		return nil, stored, fmt.Errorf("%w: %w", ErrArgs, err)
	}
	if err := h.res.enter(tx.Coordinator()); err != nil {
		return nil, stored, err
	}
	ref, err := tx.Enlist(h.res.id)
	if err != nil {
		return nil, stored, err
	}
	return &branch{tx, guard{
		xid: tx.XID(), branch: ref.Branch, action: h.entry.name, version: h.entry.version, args: raw, created: h.res.cfg.now(),
	}, h.res.id}, stored, nil
}
