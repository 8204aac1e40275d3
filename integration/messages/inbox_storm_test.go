package messages

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestInboxStorm: every tenth COMMIT, or its answer, is lost, every tenth handler fails,
// processes are stopped and started, and the broker is, too. Each message takes effect once.
func TestInboxStorm(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		for _, global := range []bool{false, true} {
			t.Run(fmt.Sprint("global=", global), func(t *testing.T) {
				n := 200
				var opts []gtx.Option
				if global {
					n = 50
					opts = []gtx.Option{gtx.WithCoordinator(embedded(t)), gtx.WithTimeout(5 * time.Second)}
				}
				seed := rand.Uint64()
				t.Log("seed", seed)
				var mu sync.Mutex
				rnd := rand.New(rand.NewPCG(seed, 1))
				chance := func(in int) bool {
					mu.Lock()
					defer mu.Unlock()
					return rnd.IntN(in) == 0
				}
				lose := func(text string) error {
					if strings.HasSuffix(text, "COMMIT") && chance(10) {
						return errors.Join(errInjected, sqldriver.ErrBadConn) // so the connection is closed
					}
					return nil
				}
				dsn := s.dsn(t)
				r := newInboxRig(t, s, open(t, s, dsn))
				program := &hook{}
				db := openHooked(t, s, dsn, program, &hook{})
				in := r.open(db, inbox.Config{MaxTries: 1000, Global: global, Options: opts})
				program.Set(lose, func(text string, err error) error {
					if err == nil {
						err = lose(text)
					}
					return err
				})
				for i := range n {
					r.publish("orders.x", fmt.Sprint(i), nil)
				}
				start := func() (stop func()) {
					return r.consume(in, inbox.Source{AckWait: 2 * time.Second}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
						if err := r.effect(ctx, tx, m); err != nil {
							return err
						}
						if chance(10) {
							return errUndo
						}
						return nil
					})
				}
				for part := 1; part <= 3; part++ {
					stop := start()
					eventually(t, "some more", func() bool { return r.number("SELECT count(*) FROM effect") >= n*part/4 })
					if part == 2 {
						r.b.stop()
						r.b.start(t)
					}
					stop()
				}
				program.Set(nil, nil)
				start()
				eventually(t, "all are handled", func() bool {
					lag, err := in.Lag(t.Context())
					return err == nil && lag == inbox.Lag{} && r.number("SELECT count(*) FROM effect") >= n
				})
				r.once(n)
			})
		}
	})
}
