package actions

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
)

// BenchmarkTCC compares the work of a Try in a bare local transaction, in an AT branch of a
// global transaction, and as an action, to the end of gtx.Run. Confirm runs beside.
func BenchmarkTCC(b *testing.B) {
	for _, s := range servers() {
		b.Run(s.name, func(b *testing.B) {
			bus := embedded(b)
			db := open(b, s, s.dsn(b))
			holdTable(b, db)
			res := openTCC(b, db, bus, tcc.Config{})
			reserve := registerHold(b, res, newHold())
			i := 0
			text := func() string {
				i++
				return fmt.Sprintf("UPDATE item SET n = n - 1, held = held + 1 WHERE id = %d", 1+i%3)
			}
			ways := []struct {
				name string
				do   func(ctx context.Context) error
			}{
				{"bare", func(ctx context.Context) error {
					return locally(ctx, db, func(tx *sql.Tx) error { _, err := tx.ExecContext(ctx, text()); return err })
				}},
				{"AT", func(ctx context.Context) error {
					return bus.Run(ctx, func(ctx context.Context) error {
						return locally(ctx, db, func(tx *sql.Tx) error { _, err := tx.ExecContext(ctx, text()); return err })
					})
				}},
				{"TCC", func(ctx context.Context) error {
					i++
					return bus.Run(ctx, func(ctx context.Context) error { return reserve.Try(ctx, holdArgs{ID: 1 + i%3, N: 1}) }, gtx.WithRetries(0))
				}},
			}
			for _, way := range ways {
				b.Run(way.name, func(b *testing.B) {
					for b.Loop() {
						if err := way.do(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
