package actions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
)

// farShop is a system without a database of ours, which keeps what it was asked by key.
type farShop struct {
	// mu protects the following.
	mu    sync.Mutex
	state map[string]string
}

func (o *farShop) set(ctx context.Context, to string) error {
	call, ok := tcc.FromContext(ctx)
	if _, global := gtx.FromContext(ctx); global || !ok {
		return errors.New("the context is not that of an action")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	key := fmt.Sprint(call.XID, call.Branch)
	if to == "reserved" && o.state[key] == "cancelled" {
		return errors.New("barred")
	}
	o.state[key] = to
	return nil
}

func (o *farShop) count(state string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.state {
		if s == state {
			n++
		}
	}
	return n
}

func (o *farShop) Try(ctx context.Context, _ tcc.Tx, n int) error {
	if n < 0 {
		return errNo
	}
	return o.set(ctx, "reserved")
}
func (o *farShop) Confirm(ctx context.Context, _ tcc.Tx, _ int) error { return o.set(ctx, "sold") }
func (o *farShop) Cancel(ctx context.Context, _ tcc.Tx, _ int) error  { return o.set(ctx, "cancelled") }

// TestBareBesideRows: an action without a database and rows under AT have one fate. Half of
// the transactions fail, in the action or behind it.
func TestBareBesideRows(t *testing.T) {
	bus := embedded(t)
	s := server{name: "sqlite", driver: "gtx-sqlite", dsn: sqliteDSN}
	db := open(t, s, s.dsn(t))
	itemTable(t, db)
	res, err := tcc.Bare(t.Context(), "shop", tcc.Config{Coordinator: bus, ScanInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Close() })
	shop := &farShop{state: map[string]string{}}
	h, err := tcc.Register(res, "reserve", shop)
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	for i := range n {
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, update(1, -1)); err != nil {
				return err
			}
			args := i
			if i%4 == 1 {
				args = -1
			}
			if err := h.Try(ctx, args); err != nil {
				return err
			}
			if i%4 == 3 {
				return errNo
			}
			return nil
		}, gtx.WithCoordinator(bus))
		if bad := i%2 == 1; errors.Is(err, errNo) != bad || !bad && err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := bus.Guards(ctx, tcc.BareID("shop"), gtx.XID{})
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d guards are left", len(left))
		}
	}
	if err := bus.Idle(ctx); err != nil {
		t.Fatal(err)
	}
	testdb.Clean(t, db) // an abort is not waited for
	if got := value(t, db, 1); got != 100-n/2 {
		t.Errorf("%d items are left, want %d", got, 100-n/2)
	}
	if sold, cancelled := shop.count("sold"), shop.count("cancelled"); sold != n/2 || cancelled != n/2 || shop.count("reserved") != 0 {
		t.Errorf("sold %d, cancelled %d, want %d each; %d are reserved", sold, cancelled, n/2, shop.count("reserved"))
	}
}
