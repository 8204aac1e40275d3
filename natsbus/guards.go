package natsbus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

var _ gtx.GuardStore = (*Bus)(nil)

// guardSubject is where the nodes of the coordinator hear about guards, each request one
// of them. It is below svcPrefix: who may ask a coordinator may keep guards.
const (
	guardSubject = svcPrefix + "0.guard"
	guardQueue   = "guard"
)

// guardTry is the longest that one try of a call about guards waits. It is more than the
// election of a stream's leader takes.
const guardTry = 10 * time.Second

// CreateGuard implements gtx.GuardStore. It sends once: a second message with the same
// names could bring a guard back that has been deleted meanwhile.
func (b *Bus) CreateGuard(ctx context.Context, g gtx.Guard) (uint64, error) {
	a, err := b.guard(ctx, guardRequest{Op: guardCreate, Guard: g})
	return a.Number, err
}

// UpdateGuard implements gtx.GuardStore. It asks again when no answer came: an older try
// that arrives later finds another revision.
func (b *Bus) UpdateGuard(ctx context.Context, g gtx.Guard) (uint64, error) {
	a, err := b.guard(ctx, guardRequest{Op: guardUpdate, Guard: g, Number: g.Revision})
	return a.Number, err
}

// DeleteGuard implements gtx.GuardStore.
func (b *Bus) DeleteGuard(ctx context.Context, g gtx.Guard) error {
	g.Body = nil
	_, err := b.guard(ctx, guardRequest{Op: guardDelete, Guard: g, Number: g.Revision})
	return err
}

// Guards implements gtx.GuardStore.
func (b *Bus) Guards(ctx context.Context, r gtx.ResourceID, xid gtx.XID) ([]gtx.Guard, error) {
	type name struct {
		id     gtx.ResourceID
		xid    gtx.XID
		branch gtx.BranchID
	}
	at := map[name]int{}
	var all []gtx.Guard
	q := guardRequest{Op: guardList, Guard: gtx.Guard{Resource: r, XID: xid}}
	for {
		a, err := b.guard(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, g := range a.Guards { // one that was changed meanwhile comes twice
			n := name{g.Resource, g.XID, g.Branch}
			if i, twice := at[n]; twice {
				all[i] = g
				continue
			}
			at[n] = len(all)
			all = append(all, g)
		}
		if !a.More {
			return all, nil
		}
		q.Number = a.Number
	}
}

// guard asks until something is certain, ctx ends or the time is over.
func (b *Bus) guard(ctx context.Context, q guardRequest) (a guardAnswer, err error) {
	defer func() {
		if err != nil && b.ctx.Err() != nil {
			err = ErrClosed
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", q.Op, err)
		}
	}()
	switch {
	case len(q.Guard.Resource) > coordinator.MaxResourceLen:
		return a, fmt.Errorf("%w: resource id of %d bytes", ErrRefused, len(q.Guard.Resource))
	case len(q.Guard.Body) > gtx.MaxGuard:
		return a, fmt.Errorf("%w: body of %d bytes, at most %d", ErrRefused, len(q.Guard.Body), gtx.MaxGuard)
	case !q.named():
		return a, fmt.Errorf("%w: guard of resource %q, transaction %s and branch %d", ErrRefused, q.Guard.Resource, q.Guard.XID, q.Guard.Branch)
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	q.Nonce = newKey()
	if b.ctx.Err() != nil {
		return a, ErrClosed
	}
	unclear := false // whether an earlier try may have been done
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return guardAnswer{}, unanswered(ctx.Err(), err)
		}
		a, err = b.tryGuard(ctx, &q, try)
		if err != nil {
			if !unsent(err) {
				unclear = true
				if q.Op == guardCreate {
					return guardAnswer{}, unanswered(ctx.Err(), err)
				}
			}
		} else {
			switch a.Code {
			case guardOK:
				return a, nil
			case guardGone, guardChanged:
				return guardAnswer{}, q.lost(a, unclear)
			case guardRefused:
				return guardAnswer{}, fmt.Errorf("%w: %s", gtx.ErrUnavailable, a.Text)
			case guardUnclear:
				unclear = true
				if q.Op == guardCreate {
					return guardAnswer{}, fmt.Errorf("%w: %s", gtx.ErrUnavailable, a.Text)
				}
			}
			err = errors.New(a.Text)
		}
		pause(ctx, pauseMin, pauseMax, try)
	}
}

// tryGuard waits for one answer. A create has no second try, so it gets all the time.
func (b *Bus) tryGuard(ctx context.Context, q *guardRequest, try int) (guardAnswer, error) {
	wait := guardTry
	if q.Op != guardCreate {
		wait = min(b.cfg.TryTimeout<<min(try, 2), guardTry)
	}
	if at, ok := ctx.Deadline(); ok {
		wait = max(min(wait, time.Until(at)), time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	q.Time = wait.Truncate(time.Millisecond)
	m, err := b.nc.RequestWithContext(ctx, guardSubject, q.encode())
	if err != nil {
		return guardAnswer{}, err
	}
	return decodeGuardAnswer(m.Data)
}

// lost says what it means that the guard is not what the caller has named. After an
// unclear try that may be the caller's own doing:
//
//   - An update that finds another revision, or none, cannot know.
//   - A delete that finds none has what it wanted. One that finds a newer revision has
//     done nothing: somebody has replaced the one that it was to delete.
func (q *guardRequest) lost(a guardAnswer, unclear bool) error {
	switch {
	case !unclear, q.Op == guardDelete && a.Code == guardChanged:
		return fmt.Errorf("%w: %s", gtx.ErrGuardChanged, a.Text)
	case q.Op == guardDelete:
		return nil
	}
	return fmt.Errorf("%w: an answer was lost, and %s", gtx.ErrUnavailable, a.Text)
}

// unsent reports whether nobody can have got the request.
func unsent(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrConnectionClosed)
}

// unanswered gives the error of a call that has run out of time; last is why its last try
// has failed.
func unanswered(ended, last error) error {
	switch {
	case last == nil:
		return fmt.Errorf("%w: %w", gtx.ErrUnavailable, ended)
	case ended == nil, errors.Is(last, ended):
		return fmt.Errorf("%w: %w", gtx.ErrUnavailable, last)
	}
	return fmt.Errorf("%w: %w: %w", gtx.ErrUnavailable, ended, last)
}

// guardName gives the subject of a guard. Branch and XID are numbers in the end, and a
// resource is one token, so a name reaches no other guard.
func guardName(g *gtx.Guard) (string, error) {
	s, err := subjectOf(guardPrefix, g.Resource)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s.%s.%d", s, g.XID, g.Branch), nil
}

// guardFilter gives the subjects of the guards of a transaction, of all if that is zero, and
// of all resources if r is empty.
func guardFilter(r gtx.ResourceID, xid gtx.XID) (string, error) {
	if r == "" {
		return guardPrefix + "*.*.*", nil
	}
	s, err := subjectOf(guardPrefix, r)
	if err != nil {
		return "", err
	}
	if xid.IsZero() {
		return s + ".*.*", nil
	}
	return s + "." + xid.String() + ".*", nil
}

// readGuardName reads what guardName wrote.
func readGuardName(subject string) (g gtx.Guard, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 {
		return g, fmt.Errorf("%w: subject %s is not of a guard", errWire, subject)
	}
	g.Resource = gtx.ResourceID(parts[2])
	if code, encoded := strings.CutPrefix(parts[2], "="); encoded {
		raw, err := base64.RawURLEncoding.DecodeString(code)
		if err != nil {
			return g, fmt.Errorf("%w: subject %s: %w", errWire, subject, err)
		}
		g.Resource = gtx.ResourceID(raw)
	}
	if g.XID, err = gtx.ParseXID(parts[3]); err != nil {
		return g, err
	}
	branch, err := strconv.ParseInt(parts[4], 10, 64)
	if err != nil {
		return g, fmt.Errorf("%w: subject %s: %w", errWire, subject, err)
	}
	g.Branch = gtx.BranchID(branch)
	return g, nil
}
