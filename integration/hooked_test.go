package integration

import (
	"database/sql"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/internal/testserver/testdb"
)

// errInjected is what a hook answers in place of the database.
var errInjected = testdb.ErrInjected

// hook sees everything that a connection is told, COMMIT and ROLLBACK included.
type hook = testdb.Hook

// openHooked opens a database whose program's and phase two's connections have a
// hook each.
func openHooked(t testing.TB, s server, dsn string, program, phase2 *hook) *sql.DB {
	t.Helper()
	return testdb.OpenHooked(t, s.public(), dsn, program, phase2)
}

// outsider opens the database with the base driver: somebody outside. dsn holds no
// parameter of ours.
func outsider(t testing.TB, s server, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(strings.TrimPrefix(s.driver, "gtx-"), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// journal keeps what is logged at Warn and above.
type journal struct {
	mu    sync.Mutex
	lines []string
}

// logged makes a journal of everything that is opened from now on.
func logged(t testing.TB) *journal {
	t.Helper()
	j, old := &journal{}, slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelWarn})))
	t.Cleanup(func() { slog.SetDefault(old) })
	return j
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(p))
	return len(p), nil
}

// with gives the lines that hold all the words.
func (j *journal) with(words ...string) (out []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
lines:
	for _, l := range j.lines {
		for _, w := range words {
			if !strings.Contains(l, w) {
				continue lines
			}
		}
		out = append(out, l)
	}
	return out
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testdb.Eventually(t, what, ok)
}

func eventuallyEvery(t testing.TB, pause time.Duration, what string, ok func() bool) {
	t.Helper()
	testdb.EventuallyEvery(t, pause, what, ok)
}
