package integration

import (
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

// racesEnv raises how many captured transactions each cell of TestRaces runs.
const racesEnv = "GTX_RACES"

// stable rows are never deleted, so that every write to them can be counted; those
// behind come and go.
const stable = 8

// shape is a pair of statements that race. TABLE stands for the cell's table with
// the columns id, grp, ver and outs. captured adds 1 to ver, or inserts with
// ver = 1; outside writers add 1 to outs.
type shape struct {
	name string
	// captured by the family of servers, with %d for a key; "" stands for all.
	captured map[string]string
	// moves: outside writers change keys; comes: they delete and insert rows behind
	// the stable ones. Otherwise they flip grp.
	moves, comes bool
}

var shapes = []shape{
	{name: "by key", captured: map[string]string{"": "UPDATE TABLE SET ver = ver + 1 WHERE id = %d"}},
	{name: "predicate flipped", captured: map[string]string{"": "UPDATE TABLE SET ver = ver + 1 WHERE grp = 1 AND id <= 8 AND id <> %d"}},
	{name: "key changed", moves: true, comes: true, captured: map[string]string{"": "UPDATE TABLE SET ver = ver + 1 WHERE id IN (%d, 3, 9, 10, 105)"}},
	{name: "range with inserts and deletes", comes: true, captured: map[string]string{"": "UPDATE TABLE SET ver = ver + 1 WHERE id BETWEEN %d AND 12"}},
	{name: "upsert of hot keys", comes: true, captured: map[string]string{
		"":      "INSERT INTO TABLE (id, grp, ver, outs) VALUES (%d, 1, 1, 0), (9, 1, 1, 0), (11, 1, 1, 0) ON CONFLICT (id) DO UPDATE SET ver = TABLE.ver + 1",
		"mysql": "INSERT INTO TABLE (id, grp, ver, outs) VALUES (%d, 1, 1, 0), (9, 1, 1, 0), (11, 1, 1, 0) ON DUPLICATE KEY UPDATE ver = ver + 1",
	}},
	{name: "limit", comes: true, captured: map[string]string{
		"":      "UPDATE TABLE SET ver = ver + 1 WHERE id IN (SELECT id FROM TABLE WHERE grp = 1 AND id <> %d ORDER BY ver, id LIMIT 3)",
		"mysql": "UPDATE TABLE SET ver = ver + 1 WHERE grp = 1 AND id <> %d ORDER BY ver, id LIMIT 3",
	}},
	{name: "join", captured: map[string]string{
		"":      "UPDATE TABLE SET ver = ver + 1 FROM pick AS p WHERE p.grp = TABLE.grp AND p.want = 1 AND TABLE.id <= 8 AND TABLE.id <> %d",
		"mysql": "UPDATE TABLE JOIN pick AS p ON p.grp = TABLE.grp SET TABLE.ver = TABLE.ver + 1 WHERE p.want = 1 AND TABLE.id <= 8 AND TABLE.id <> %d",
	}},
}

// TestRaces: outside writers on plain connections change the rows that captured
// statements change, half of whose transactions abort. Every before image must be
// the version that was overwritten, every outside write must be there at the end,
// and captured rows must account for changed rows (rules T1, P3). It logs a
// table of what happened.
func TestRaces(t *testing.T) {
	n := 18
	if text := os.Getenv(racesEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			t.Fatalf("%s=%q: want a number of transactions for each cell", racesEnv, text)
		}
	}
	logged(t) // what is stuck is told, hundreds of times here
	var mu sync.Mutex
	var lines []string // under mu
	t.Cleanup(func() { // when the servers, side by side, are done
		slices.Sort(lines)
		t.Logf("%d transactions for each cell\n| server | level | shape | rows exact | stale | committed | aborted | conflicts | stuck rows | outside writes | lost | outside gave way |\n%s", n, strings.Join(lines, "\n"))
	})
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		levels := []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelReadCommitted}
		if s.driver == "gtx-sqlite" {
			levels = []sql.IsolationLevel{sql.LevelDefault}
		}
		for _, level := range levels {
			t.Run(level.String(), func(t *testing.T) {
				bus := embedded(t)
				dsn := s.dsn(t)
				db, outside := open(t, s, dsn+separator(dsn)+"gtx_lock_wait=300ms&gtx_scan_interval=50ms"), outsider(t, s, dsn)
				operator := newOperator(t, s, dsn, bus)
				mustExec(t, outside, "CREATE TABLE pick (grp int PRIMARY KEY, want int NOT NULL)")
				mustExec(t, outside, "INSERT INTO pick VALUES (1, 1), (0, 0)")
				for i, sh := range shapes {
					t.Run(sh.name, func(t *testing.T) {
						c := &cell{
							TB: t, shape: sh, table: fmt.Sprint("race", i), text: sh.captured[""], n: n, seed: uint64(1 + i), level: level,
							bus: bus, db: db, outside: outside, operator: operator, dialect: dialects[s.driver],
						}
						if text, ok := sh.captured[strings.TrimPrefix(s.family(), "gtx-")]; ok {
							c.text = text
						}
						if s.driver == "gtx-sqlite" {
							c.n /= 2 // its writers wait 100 ms at a time
						}
						c.run()
						mu.Lock()
						defer mu.Unlock()
						lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s |", s.name, level, sh.name, c.tally()))
					})
				}
			})
		}
	})
}

// newOperator opens a resolver of its own, as gtx resolve does.
func newOperator(t testing.TB, s server, dsn string, bus *natsbus.Bus) *undo.Resolver {
	t.Helper()
	base, err := openers[s.driver](dsn)
	if err != nil {
		t.Fatal(err)
	}
	if base.Resolver == nil {
		base.Resolver = base.Connector
	}
	db := sql.OpenDB(base.Resolver)
	t.Cleanup(func() { db.Close() })
	r, err := undo.NewResolver(undo.Config{
		DB: db, Dialect: dialects[s.driver], Coordinator: func() gtx.Coordinator { return bus }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
