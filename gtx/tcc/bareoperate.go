package tcc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// BareGuard is a Guard of an action without a database.
type BareGuard struct {
	Guard
	// Name that [Bare] was called with.
	Name string
	// State is trying, tried, failed (Try has failed, Cancel is to come), confirming or
	// cancelling.
	State string
}

// ListBare gives the guards of actions without a database that the coordinator keeps, those
// that have failed most often first. Name empty: of all names.
func ListBare(ctx context.Context, c gtx.Coordinator, name string) ([]BareGuard, error) {
	s, err := storeOf(c)
	if err != nil {
		return nil, fmt.Errorf("list guards of actions: %w", err)
	}
	var id gtx.ResourceID
	if name != "" {
		id = BareID(name)
	}
	list, err := s.Guards(gtx.Detach(ctx), id, gtx.XID{})
	if err != nil {
		return nil, fmt.Errorf("list guards of actions: %w", err)
	}
	var all []BareGuard
	for _, have := range list {
		name, ok := strings.CutPrefix(string(have.Resource), barePrefix)
		if !ok {
			continue
		}
		g := readBare(have)
		all = append(all, BareGuard{Guard{
			XID: g.xid, Branch: g.branch, Action: g.action, Version: g.version, Args: g.args, Created: g.created,
			Tries: g.tries, RetryAt: g.retryAt, Reason: g.reason,
		}, name, g.kept.(*kept).State})
	}
	slices.SortStableFunc(all, func(x, y BareGuard) int {
		if x.Tries != y.Tries {
			return y.Tries - x.Tries
		}
		return x.Created.Compare(y.Created)
	})
	return all, nil
}

// DropBare is for an operator who has done by hand what Confirm or Cancel of a guard was to
// do: it removes the guard. ErrNothing where there is none, gtx.ErrConflict while it is being
// worked on, or while its Try may run. Nobody records it: log it.
func DropBare(ctx context.Context, c gtx.Coordinator, name string, xid gtx.XID, branch gtx.BranchID) error {
	s, err := storeOf(c)
	if err == nil {
		err = dropBare(gtx.Detach(ctx), s, &bare{id: BareID(name), now: time.Now}, xid, branch)
	}
	if err != nil {
		return fmt.Errorf("drop guard %d of %s: %w", branch, xid, err)
	}
	return nil
}

func dropBare(ctx context.Context, s gtx.GuardStore, b *bare, xid gtx.XID, branch gtx.BranchID) error {
	all, err := s.Guards(ctx, b.id, xid)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(g gtx.Guard) bool { return g.Branch == branch })
	if at < 0 {
		return ErrNothing
	}
	g := readBare(all[at])
	err = b.early(&g)
	if err == nil {
		err = s.DeleteGuard(ctx, all[at])
	}
	if errors.Is(err, errBusy) || errors.Is(err, gtx.ErrGuardChanged) {
		return fmt.Errorf("%w: %w", gtx.ErrConflict, err)
	}
	return err
}
