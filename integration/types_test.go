package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/coltype"
	"github.com/globaltx/globaltx/natsbus"
)

// typeWorkers is how many types of one server are tried at once.
const typeWorkers = 3

// allTypesEnv, when set, takes every type through every kind of session, to an
// abort and to a commit. Otherwise the types that no setting can change are tried
// in the first, and the second ends with aborts alone.
const allTypesEnv = "GTX_TYPES"

// TestTypes holds every line of docs/types.md: a table of each type is changed in
// all ways under each kind of session. After an abort the server itself finds it
// identical to a twin that was left alone, after a commit to a twin that went the
// same way through the bare driver, statement for statement with the same answer.
func TestTypes(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel() // the package's other tests are over
		b := newTypeBench(t, s)
		for i, session := range b.list.Sessions {
			t.Run(session.Name, func(t *testing.T) { b.wave(t, session, i == 0, i != 1) })
		}
		for _, session := range b.list.Refused {
			t.Run("refused: "+session.Name, func(t *testing.T) { b.refused(t, session) })
		}
	})
	t.Run("sqlite UTF-16", func(t *testing.T) {
		t.Parallel()
		b := newTypeBench(t, server{"sqlite", "gtx-sqlite", func(t testing.TB) string {
			// The encoding is settled when the journal mode is written.
			return strings.Replace(sqliteDSN(t), "?", "?_pragma=encoding('UTF-16be')&", 1)
		}})
		b.wave(t, b.list.Sessions[0], false, false)
	})
}

// typeBench is one server with a table of every type.
type typeBench struct {
	s      server
	list   coltype.Server
	dsn    string
	bus    *natsbus.Bus
	plain  *sql.DB // the bare driver, in a session that takes every value
	tables []*typeTable
}

// baseOf gives the base driver of a server.
func baseOf(s server) string { return strings.TrimPrefix(s.family(), "gtx-") }

func newTypeBench(t *testing.T, s server) *typeBench {
	t.Helper()
	b := &typeBench{s: s, dsn: s.dsn(t), bus: embedded(t)}
	if s.name == "sqlite" { // which would wait for the disk after each of many statements
		b.dsn += "&_pragma=synchronous(off)"
	}
	for _, list := range coltype.Servers() {
		if slices.Contains(list.Names, s.name) {
			b.list = list
		}
	}
	params := map[string]map[string]string{
		"mysql":    {"timestamp": "1", "time_zone": "'+00:00'", "sql_mode": "'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'"},
		"postgres": {"timezone": "UTC"},
	}
	var err error
	if b.plain, err = sql.Open(baseOf(s), withParams(b.dsn, params[baseOf(s)])); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.plain.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	if baseOf(s) == "mysql" {
		makeZones(t, s.name)
	}
	for _, text := range b.list.Setup {
		mustExec(t, b.plain, text)
	}
	for _, typ := range b.list.Types {
		if typ.On(s.name) {
			b.tables = append(b.tables, newTypeTable(t, b.plain, baseOf(s), len(b.tables), typ))
		}
	}
	return b
}

func withParams(dsn string, params map[string]string) string {
	for name, value := range params {
		dsn += separator(dsn) + name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20") // as pgx and libpq read it
	}
	return dsn
}

// connect gives a connection of a program whose sessions are set up so.
func connect(ctx context.Context, db *sql.DB, session coltype.Session) (*sql.Conn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	for _, set := range session.Sets {
		if _, err := conn.ExecContext(ctx, set); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", set, err), conn.Close())
		}
	}
	return conn, nil
}

// each runs fn for all tables on connections of one kind of session, and keeps
// what goes wrong by table.
func (b *typeBench) each(t *testing.T, db *sql.DB, session coltype.Session, fn func(conn *sql.Conn, x *typeTable) error) {
	t.Helper()
	next := make(chan *typeTable)
	var done sync.WaitGroup
	workers := typeWorkers
	if b.s.name == "sqlite" {
		workers = 1
	}
	for range workers {
		conn, err := connect(t.Context(), db, session)
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			defer conn.Close()
			for x := range next {
				if err := fn(conn, x); err != nil {
					x.wrong = append(x.wrong, err.Error())
				}
			}
		})
	}
	for _, x := range b.tables {
		next <- x
	}
	close(next)
	done.Wait()
}

// wave takes the types, with settled or without, through one kind of session.
func (b *typeBench) wave(t *testing.T, session coltype.Session, settled, commit bool) {
	whole := os.Getenv(allTypesEnv) != ""
	if all := b.tables; !settled && !whole {
		b.tables = slices.DeleteFunc(slices.Clone(all), func(x *typeTable) bool { return x.Settled })
		defer func() { b.tables = all }()
	}
	dsn := withParams(b.dsn, session.Params)
	db := open(t, b.s, dsn)
	for _, x := range b.tables {
		x.wrong = nil
	}
	b.each(t, b.plain, coltype.Session{}, func(conn *sql.Conn, x *typeTable) error { return x.fill(t.Context(), conn) })
	b.compare(t, "before")

	b.each(t, db, session, func(conn *sql.Conn, x *typeTable) error {
		x.aborted = nil
		err := b.bus.Run(t.Context(), func(ctx context.Context) (err error) {
			if x.aborted, err = x.run(ctx, conn, true); err != nil {
				return err
			}
			return errChanged
		})
		if !errors.Is(err, errChanged) {
			return fmt.Errorf("first run: %w", err)
		}
		return nil
	})
	clean(t, db)
	b.compare(t, "after the abort")
	if commit || whole {
		b.commit(t, db, dsn, session)
	}
	for _, x := range b.tables {
		t.Run(x.title(), func(t *testing.T) {
			for _, w := range x.wrong {
				t.Error(w)
			}
		})
	}
}

// commit takes the twins through the bare driver and then the tables to a commit.
func (b *typeBench) commit(t *testing.T, db *sql.DB, dsn string, session coltype.Session) {
	t.Helper()
	base, err := sql.Open(baseOf(b.s), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	b.each(t, base, session, func(conn *sql.Conn, x *typeTable) (err error) {
		x.bare = nil
		if x.bare, err = x.run(t.Context(), conn, false); err != nil {
			return fmt.Errorf("bare run: %w", err)
		}
		return x.same(x.aborted, "aborted")
	})
	b.each(t, db, session, func(conn *sql.Conn, x *typeTable) error {
		var got answers
		err := b.bus.Run(t.Context(), func(ctx context.Context) (err error) {
			got, err = x.run(ctx, conn, true)
			return err
		})
		if err != nil {
			return fmt.Errorf("second run: %w", err)
		}
		return x.same(got, "committed")
	})
	clean(t, db)
	b.compare(t, "after the commit")
}

// refused holds that under these settings nothing runs.
func (b *typeBench) refused(t *testing.T, session coltype.Session) {
	db := open(t, b.s, withParams(b.dsn, session.Params))
	x := b.tables[0]
	if err := x.fill(t.Context(), b.plain); err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), db, session)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, step := range x.steps() {
		err := b.bus.Run(t.Context(), func(ctx context.Context) error {
			_, err := conn.ExecContext(ctx, named(step.text, "g"), step.args...)
			return err
		})
		var u *gtx.UnsupportedError
		if !errors.As(err, &u) || u.Code != session.Code {
			t.Errorf("%s: got %v, want it refused with %q", named(step.text, "g"), err, session.Code)
		}
	}
	x.wrong = nil
	b.compare(t, "after what was refused")
	for _, w := range x.wrong {
		t.Error(w)
	}
}

// compare asks the server whether the tables and their twins are identical.
func (b *typeBench) compare(t *testing.T, when string) {
	t.Helper()
	for _, x := range b.tables {
		for _, pair := range x.pairs() {
			same, err := b.identical(t.Context(), pair[0], pair[1])
			if err != nil {
				t.Fatal(err)
			}
			if !same {
				x.wrong = append(x.wrong, fmt.Sprintf("%s %s is\n%s, the twin\n%s", when, pair[0], b.dump(t, pair[0]), b.dump(t, pair[1])))
			}
		}
	}
}
