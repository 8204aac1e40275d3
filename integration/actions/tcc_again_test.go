package actions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestTCCFails has Confirm, or Cancel, return errors, panic, and get stuck, and succeed in the
// end. A second action of the same transaction does not wait for it.
func TestTCCFails(t *testing.T) {
	for _, part := range []string{"confirm", "cancel"} {
		t.Run(part, func(t *testing.T) {
			onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
				var log lines
				h, other := newHold(), newHold()
				res := openTCC(t, db, bus, tcc.Config{StuckAfter: 3, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				reserve := registerHold(t, res, h)
				second, err := tcc.Register(res, "second", other)
				if err != nil {
					t.Fatal(err)
				}
				mended := make(chan struct{})
				var attempts []int
				h.after = func(ctx context.Context, _ tcc.Tx, what string, call int) error {
					if what == "try" {
						return nil
					}
					c, _ := tcc.FromContext(ctx)
					attempts = append(attempts, c.Attempt) // calls of one guard are one after the other
					select {
					case <-mended:
						return nil
					default:
					}
					if call == 2 {
						panic("a bug \u00e9\x00")
					}
					return fmt.Errorf("call %d of %q: %w", call, strings.Repeat("é", 3000), errNo)
				}
				err = gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := errors.Join(reserve.Try(ctx, holdArgs{ID: 1, N: 5}), second.Try(ctx, holdArgs{ID: 2, N: 6})); err != nil || part == "confirm" {
						return err
					}
					return errNo
				}, within20(bus)...)
				if (err == nil) != (part == "confirm") {
					t.Fatal(err)
				}
				eventually(t, "stuck", func() bool { return res.Stats().Stuck == 1 })
				eventually(t, "the second action has ended", func() bool { return other.called(part) == 1 && guardsLeft(t, db) == 1 })
				if st := res.Stats(); st.Waiting != 1 || st.Retries < 3 {
					t.Errorf("stats %+v", st)
				}
				var shown []tcc.Guard
				eventually(t, "it is listed", func() bool {
					shown, err = tcc.List(t.Context(), db, 10)
					if err != nil || len(shown) != 1 {
						t.Fatalf("list: %+v, %v", shown, err)
					}
					g := shown[0]
					return g.Action == "hold" && g.Tries >= 3 && !g.RetryAt.IsZero() && strings.Contains(g.Reason, "of action hold: call")
				})
				err = res.Resolve(t.Context(), gtx.Resolution{XID: shown[0].XID, Status: map[string]gtx.Status{"confirm": gtx.Committed, "cancel": gtx.Aborted}[part]})
				if !errors.Is(err, tcc.ErrStuck) || !errors.Is(err, gtx.ErrDirty) {
					t.Errorf("resolve: %v", err)
				}
				close(mended)
				becomes(t, db, 1, map[string][3]int64{"confirm": {95, 0, 5}, "cancel": {100, 0, 0}}[part])
				eventually(t, "nothing waits", func() bool { return res.Stats().Waiting == 0 && res.Stats().Stuck == 0 })
				if n := log.count("an action is stuck"); n != 1 {
					t.Errorf("stuck was logged %d times", n)
				}
				if n := log.count("an action panicked"); n != 1 || log.count("tcc_again_test.go") == 0 {
					t.Errorf("the panic was logged %d times, or without its stack", n)
				}
				for i, n := range attempts {
					if n != i+1 {
						t.Errorf("attempts %v", attempts)
						break
					}
				}
			})
		})
	}
}

// TestTCCTakeover has a process die between Try and phase two. Another one has the action, or
// gets it, or has a newer version.
func TestTCCTakeover(t *testing.T) {
	onEachTCC(t, func(t *testing.T, s server, _ *sql.DB, bus *natsbus.Bus) {
		for _, commits := range []bool{true, false} {
			t.Run(fmt.Sprintf("commits %t", commits), func(t *testing.T) {
				dsn := s.dsn(t)
				db, second := open(t, s, dsn), open(t, s, dsn)
				holdTable(t, db)
				dying := openTCC(t, db, bus, tcc.Config{})
				reserve := registerHold(t, dying, newHold())
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 5}); err != nil {
						return err
					}
					if err := dying.Close(); err != nil {
						return err
					}
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 5}); !errors.Is(err, tcc.ErrClosed) {
						t.Errorf("try after close: %v", err)
					}
					if commits {
						return nil
					}
					return errNo
				}, within20(bus)...)
				if commits != (err == nil) {
					t.Fatal(err)
				}
				res := openTCC(t, second, bus, tcc.Config{})
				if _, err := tcc.Register(res, "something-else", newHold()); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the stranger is seen", func() bool {
					shown, err := tcc.List(t.Context(), db, 10)
					if err != nil || len(shown) != 1 {
						t.Fatalf("list: %+v, %v", shown, err)
					}
					return strings.Contains(shown[0].Reason, "not registered") && shown[0].Tries == 0
				})
				h := newHold()
				if _, err := tcc.Register(res, "hold", newer{h}, tcc.Version(2)); err != nil {
					t.Fatal(err)
				}
				becomes(t, second, 1, map[bool][3]int64{true: {95, 0, 5}, false: {100, 0, 0}}[commits])
				if got := h.called("confirm") + h.called("cancel"); got != 1 {
					t.Errorf("%d calls", got)
				}
			})
		}
	})
}

// newer is holdAction with other arguments.
type newer struct{ *holdAction }

type newerArgs struct{ Item, Count string }

func (a newerArgs) old() (old holdArgs) {
	_, _ = fmt.Sscan(a.Item+" "+a.Count, &old.ID, &old.N)
	return old
}

func (n newer) Try(ctx context.Context, tx tcc.Tx, a newerArgs) error {
	return n.holdAction.Try(ctx, tx, a.old())
}

func (n newer) Confirm(ctx context.Context, tx tcc.Tx, a newerArgs) error {
	return n.holdAction.Confirm(ctx, tx, a.old())
}

func (n newer) Cancel(ctx context.Context, tx tcc.Tx, a newerArgs) error {
	return n.holdAction.Cancel(ctx, tx, a.old())
}

func (n newer) Upgrade(version int, args []byte) (newerArgs, error) {
	if version != 1 || string(args) != `{"ID":1,"N":5}` {
		return newerArgs{}, fmt.Errorf("version %d: %s", version, args)
	}
	return newerArgs{"1", "5"}, nil
}

// TestTCCNewerArguments leaves arguments of a newer version to a process that has it.
func TestTCCNewerArguments(t *testing.T) {
	onEachTCC(t, func(t *testing.T, s server, _ *sql.DB, bus *natsbus.Bus) {
		dsn := s.dsn(t)
		db, second := open(t, s, dsn), open(t, s, dsn)
		holdTable(t, db)
		h, old := newHold(), newHold()
		res, before := openTCC(t, db, bus, tcc.Config{}), openTCC(t, second, bus, tcc.Config{})
		registerHold(t, before, old)
		reserve, err := tcc.Register(res, "hold", newer{h}, tcc.Version(2))
		if err != nil {
			t.Fatal(err)
		}
		for range 8 { // pushes go to one of the two
			if err := gtx.Run(t.Context(), func(ctx context.Context) error { return reserve.Try(ctx, newerArgs{"1", "5"}) }, within20(bus)...); err != nil {
				t.Fatal(err)
			}
		}
		becomes(t, db, 1, [3]int64{60, 0, 40})
		if old.called("confirm") != 0 || h.called("confirm") != 8 {
			t.Errorf("calls %v, %v", old.calls, h.calls)
		}
	})
}

// TestTCCCoordinatorLost has the coordinator go between Try and the decision.
func TestTCCCoordinatorLost(t *testing.T) {
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			bus, err := natsbus.Embedded(t.Context(), dir, natsbus.WithCoordinator(steady))
			if err != nil {
				t.Fatal(err)
			}
			db := open(t, s, s.dsn(t))
			holdTable(t, db)
			h := newHold()
			first := openTCC(t, db, bus, tcc.Config{})
			reserve := registerHold(t, first, h)
			err = gtx.Run(t.Context(), func(ctx context.Context) error {
				if err := reserve.Try(ctx, holdArgs{ID: 1, N: 5}); err != nil {
					return err
				}
				return bus.Close()
			}, gtx.WithCoordinator(bus), gtx.WithTimeout(3*time.Second))
			if err == nil {
				t.Fatal("committed without a coordinator")
			}
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			again, err := natsbus.Embedded(t.Context(), dir, natsbus.WithCoordinator(steady))
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			res := openTCC(t, db, again, tcc.Config{})
			defer res.Close()
			registerHold(t, res, h)
			becomes(t, db, 1, [3]int64{100, 0, 0})
			if h.called("cancel") != 1 || h.called("confirm") != 0 {
				t.Errorf("calls %v", h.calls)
			}
		})
	}
}
