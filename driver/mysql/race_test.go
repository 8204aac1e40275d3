package mysql

import (
	"errors"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
)

// race runs text n times in branches that next begins, each beside a foreign
// writer that sends at most per statements, and gives how many of those ran. A
// branch that meets a conflict or a key that is there is rolled back and not repeated. saw, if not nil,
// gets the affected rows of every foreign statement that ran.
func race(d *database, n, per int, write func(i int) (string, []any), saw func(i int, affected int64), next func() *branch, text string, args ...any) (foreign int) {
	d.Helper()
	sent := 0
	for range n {
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for range per {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				sent++
				text, args := write(sent)
				res, err := d.db.ExecContext(d.Context(), text, args...)
				switch {
				case err == nil:
					foreign++
					if saw != nil {
						affected, _ := res.RowsAffected()
						saw(sent, affected)
					}
				case !gaveWay(err):
					done <- err
					return
				}
			}
			done <- nil
		}()
		b := next()
		_, err := b.run(text, args...)
		close(stop)
		switch {
		case err == nil:
			b.commit()
		case errors.Is(err, gtx.ErrConflict), gaveWay(err):
			b.rollback()
		default:
			d.Errorf("%s: %v", text, err)
			b.rollback()
		}
		if err := <-done; err != nil {
			d.Fatal(err)
		}
	}
	return foreign
}

// gaveWay: the foreign statement met a deadlock, or a key that is there.
func gaveWay(err error) bool {
	var my *base.MySQLError
	return errors.As(err, &my) && (my.Number == errDeadlock || my.Number == errDuplicate || my.Number == errLockTimeout)
}
