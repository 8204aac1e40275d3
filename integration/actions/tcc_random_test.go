package actions

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// TestTCCRandom has workers commit and abort tries in two processes, one of which is replaced
// again and again, while parts fail, panic and lose their connections at random. In the end each
// item holds what the outcomes say.
func TestTCCRandom(t *testing.T) {
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("GTX_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("GTX_SEED=%d", seed)
	for i, s := range servers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			dsn := s.dsn(t)
			db, second := open(t, s, dsn), open(t, s, dsn)
			holdTable(t, db)
			m := mischief{kill: killText[s.family()], random: rand.New(rand.NewPCG(seed, uint64(i)))}
			h := newHold()
			h.before, h.after = m.strike, m.strike
			steady := openTCC(t, db, bus, tcc.Config{})
			reserve := registerHold(t, steady, h)

			ended := make(chan struct{})
			var replaced sync.WaitGroup
			replaced.Go(func() { replace(t, second, bus, h, ended) })
			want := m.workers(t, db, bus, reserve, 4, 25)
			m.off()
			close(ended)
			replaced.Wait()
			for id := range want {
				becomes(t, db, id+1, [3]int64{100 - want[id], 0, want[id]})
			}
			if st := steady.Stats(); st.Stuck != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// mischief makes some calls fail.
type mischief struct {
	kill string
	// mu protects the following.
	mu     sync.Mutex
	random *rand.Rand
	over   bool
}

var killText = map[string]string{"gtx-mysql": "KILL CONNECTION_ID()", "gtx-postgres": "SELECT pg_terminate_backend(pg_backend_pid())"}

func (m *mischief) n(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.random.IntN(n)
}

func (m *mischief) off() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
}

func (m *mischief) strike(ctx context.Context, tx tcc.Tx, _ string, _ int) error {
	m.mu.Lock()
	over := m.over
	m.mu.Unlock()
	if over {
		return nil
	}
	switch m.n(24) {
	case 0:
		return errNo
	case 1:
		if m.kill != "" {
			_, _ = tx.ExecContext(ctx, m.kill) // COMMIT must fail by itself
		}
	}
	return nil
}

// workers gives what was taken of each item.
func (m *mischief) workers(t *testing.T, db *sql.DB, bus *natsbus.Bus, reserve *tcc.Handle[holdArgs], workers, each int) (taken [3]int64) {
	var mu sync.Mutex // protects taken
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				var did [3]int64
				fails := m.n(3) == 0
				err := gtx.Run(context.Background(), func(ctx context.Context) error {
					did = [3]int64{}
					for range 1 + m.n(3) {
						id := m.n(3)
						if err := m.try(ctx, db, reserve, holdArgs{ID: id + 1, N: 1}); err != nil {
							continue // without it
						}
						did[id]++
					}
					if fails {
						return errNo
					}
					return nil
				}, within20(bus)...)
				switch {
				case err == nil && !fails:
					mu.Lock()
					for id, n := range did {
						taken[id] += n
					}
					mu.Unlock()
				case errors.Is(err, gtx.ErrUnknown):
					t.Errorf("the outcome is not known: %v", err)
				case err == nil:
					t.Error("committed against the function's will")
				}
			}
		})
	}
	all.Wait()
	return taken
}

// try tries by either way.
func (m *mischief) try(ctx context.Context, db *sql.DB, reserve *tcc.Handle[holdArgs], a holdArgs) error {
	if m.n(2) == 0 {
		return reserve.Try(ctx, a)
	}
	tx, err := db.BeginTx(gtx.Detach(ctx), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := reserve.TryTx(ctx, tx, a); err != nil {
		return err
	}
	_ = tx.Commit() // whether it has is asked for at the end
	return nil
}

// replace opens and closes a second process until ended.
func replace(t *testing.T, db *sql.DB, bus *natsbus.Bus, h *holdAction, ended <-chan struct{}) {
	for lives := 0; ; lives++ {
		res, err := tcc.Open(context.Background(), db, tcc.Config{Coordinator: bus, ScanInterval: 20 * time.Millisecond})
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		if _, err := tcc.Register(res, "hold", h); err != nil {
			t.Errorf("register: %v", err)
		}
		wait := time.NewTimer(time.Duration(20+10*(lives%10)) * time.Millisecond)
		over := false
		select {
		case <-ended:
			over = true
		case <-wait.C:
		}
		wait.Stop()
		if err := res.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if over {
			return
		}
	}
}
