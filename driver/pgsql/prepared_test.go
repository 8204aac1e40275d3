package pgsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// repeat captures r on the connection, which keeps its prepared statements.
func (br *branch) repeat(r *proxy.Capture, args ...any) (*proxy.Captured, error) {
	br.seq++
	one := *r
	one.XID, one.Branch, one.Header, one.Seq, one.Args, one.WantRows = br.xid, br.id, br.header, br.seq, named(args), true
	one.Statements = &br.statements
	got, err := br.Capture(br.Context(), br.conn, &one)
	if err == nil {
		br.header = false
	}
	br.kept = one.Kept
	return got, err
}

// anew rolls back and begins a local transaction on the same connection.
func (br *branch) anew() {
	br.Helper()
	br.rollback()
	br.again()
}

func (br *branch) again() {
	br.Helper()
	tx, err := br.conn.(driver.ConnBeginTx).BeginTx(br.Context(), driver.TxOptions{})
	if err != nil {
		br.Fatal(err)
	}
	br.tx, br.header, br.id = tx, true, gtx.NewBranchID()
}

// request parses text and reads the catalogue on the connection of the branch.
func (br *branch) request(text string) (*proxy.Capture, error) {
	q := func(ctx context.Context, text string, _ ...any) ([][]string, error) {
		buf, err := query(ctx, br.conn, text, br.Passing(nil, false))
		if err != nil {
			return nil, err
		}
		var all [][]string
		for _, row := range buf.Lines {
			line := make([]string, len(row))
			for i, v := range row {
				switch v := v.(type) {
				case nil:
				case []byte:
					line[i] = string(v)
				default:
					line[i] = fmt.Sprint(v)
				}
			}
			all = append(all, line)
		}
		return all, nil
	}
	stmt, err := sqltext.Parse(text, sqltext.Postgres, sqltext.Mode{})
	if err != nil {
		return nil, err
	}
	r := &proxy.Capture{Stmt: stmt}
	table := func(name sqltext.Name) (*undo.Table, error) {
		id, err := br.Resolve(br.Context(), q, name)
		if err != nil {
			return nil, err
		}
		return br.Table(br.Context(), q, id)
	}
	if stmt.Targets != nil {
		if r.Table, err = table(stmt.Target().Name); err != nil {
			return nil, err
		}
	}
	for i, c := range stmt.CTEs {
		if r.Members == nil && proxy.Writes(stmt) {
			r.Members = make([]*undo.Table, len(stmt.CTEs))
		}
		if c.Write != nil {
			if r.Members[i], err = table(c.Write.Target().Name); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// server gives the code and the message of an error of the server, "" for others.
func server(err error) (code, text string) {
	var p *pq.Error
	var x *pgconn.PgError
	switch {
	case errors.As(err, &p):
		return string(p.Code), p.Message
	case errors.As(err, &x):
		return x.Code, x.Message
	}
	return "", ""
}

// prepared counts the captured statements that the server keeps for the session.
func (br *branch) prepared() int64 {
	br.Helper()
	buf, err := query(br.Context(), br.conn, "SELECT count(*) FROM pg_prepared_statements", br.Passing(nil, false))
	if err != nil {
		br.Fatal(err)
	}
	return asInt(buf.Lines[0][0])
}

// Whatever changes between two runs, a statement that was prepared gives what the
// bare driver gives that parses it anew, or asks to be tried again.
func TestPreparedGivesWhatTheBareDriverGives(t *testing.T) { onEach(t, testPreparedAsBare) }

func testPreparedAsBare(t *testing.T) {
	b := setup(t, "DO 'BEGIN CREATE ROLE gtx_test_low; EXCEPTION WHEN duplicate_object THEN NULL; END'", "CREATE SCHEMA other")
	fill := []string{
		"DROP TABLE IF EXISTS x, x2, y, m, m1, m2, other.x CASCADE", "CREATE TABLE x (id int PRIMARY KEY, n int, d date, at timestamptz, s text, iv interval, arr text[])",
		"INSERT INTO x VALUES (1, 1, NULL, NULL, 'a', NULL, NULL), (2, NULL, '2000-01-01', now(), '', '1 day', '{}')",
		"CREATE TABLE y (id int PRIMARY KEY, n int)", "INSERT INTO y VALUES (1, 100), (2, 200)",
		"CREATE TABLE other.x (id int PRIMARY KEY, n int)", "INSERT INTO other.x VALUES (1, 70)",
		"CREATE TABLE m (id int, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id)", "CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10)", "INSERT INTO m VALUES (1, 1), (2, 2)",
		"GRANT SELECT ON x TO gtx_test_low", "REVOKE UPDATE ON x FROM gtx_test_low", "GRANT ALL ON gtx_undo, gtx_branch TO gtx_test_low", "GRANT USAGE ON SCHEMA other TO gtx_test_low",
	}
	tests := []struct {
		text    string
		args    []any
		session string // by the same session
		outside string // by another one
		once    bool   // a text that must not be prepared
	}{
		// Literals that the server reads by the clock or by settings.
		{text: "UPDATE x SET at = 'now' WHERE id = 1 RETURNING at = now()", once: true},
		{text: "UPDATE x SET at = E'\\156ow' WHERE id = $1 RETURNING at = now()", args: []any{1}, once: true},
		{text: "UPDATE x SET at = $$NOW$$ WHERE id = 1 RETURNING at = now()", once: true},
		{text: "UPDATE x SET at = 'no' -- and\n'w' WHERE id = 1 RETURNING at = now()", once: true},
		{text: "UPDATE x SET at = U&'\\006eow' WHERE id = 1 RETURNING at = now()", once: true},
		{text: "INSERT INTO x (id, at) VALUES ($1, ' NOW ') RETURNING at = now()", args: []any{9}, once: true},
		{text: "UPDATE x SET d = '01/02/2020' WHERE id = $1 RETURNING extract(month FROM d)::int", args: []any{1}, session: "SET datestyle = 'ISO, DMY'", once: true},
		{text: "UPDATE x SET at = '2020-01-01 00:00' WHERE id = 1 RETURNING extract(epoch FROM at)::int8", session: "SET timezone = 'Asia/Kolkata'", once: true},
		{text: "UPDATE x SET iv = '-1 2:03:04' WHERE id = 1 RETURNING extract(epoch FROM iv)::int8", session: "SET intervalstyle = 'sql_standard'", once: true},
		{text: "UPDATE x SET arr = '{NULL}' WHERE id = 1 RETURNING arr[1] IS NULL", session: "SET array_nulls = off", once: true},
		{text: "UPDATE x SET s = 'paid' WHERE id = $1 RETURNING s, n", args: []any{1}},
		// What the names mean.
		{text: "UPDATE x SET n = n + $1 WHERE id = $2 RETURNING n", args: []any{1, 1}, session: "SET search_path = other, public"},
		{text: "UPDATE x SET n = y.n FROM y WHERE y.id = x.id RETURNING x.n", session: "SET search_path = public, other"},
		{text: "UPDATE x SET n = n + $1 WHERE id = $2 RETURNING n", args: []any{1, 1}, outside: "DROP TABLE x; CREATE TABLE x (id int PRIMARY KEY, n int); INSERT INTO x VALUES (1, 50)"},
		{text: "UPDATE x SET n = n + $1 WHERE id = $2 RETURNING *", args: []any{1, 1}, outside: "DROP TABLE x; CREATE TABLE x (n bigint, id bigint PRIMARY KEY); INSERT INTO x VALUES (50, 1)"},
		{text: "UPDATE x SET n = n + $1 WHERE id = $2 RETURNING n", args: []any{1, 1}, outside: "ALTER TABLE x RENAME TO x2; ALTER INDEX x_pkey RENAME TO x2_pkey; ALTER TABLE other.x SET SCHEMA public"},
		{text: "UPDATE x SET n = y.n FROM y WHERE y.id = x.id RETURNING x.n", outside: "DROP TABLE y; CREATE TABLE y (id int PRIMARY KEY, n int); INSERT INTO y VALUES (1, 3)"},
		{text: "WITH u AS (UPDATE y SET n = n + 1 RETURNING *) INSERT INTO x (id, n) SELECT id + 10, n FROM u RETURNING id, n", outside: "ALTER TABLE y ADD COLUMN more int DEFAULT 4"},
		{text: "WITH u AS (UPDATE y SET n = n + 1 RETURNING *) SELECT * FROM u ORDER BY id", outside: "ALTER TABLE y ALTER COLUMN n TYPE text; ALTER TABLE y ALTER COLUMN n TYPE int USING 7"},
		// What the tables are.
		{text: "UPDATE x SET n = n + $1 WHERE id = $2 RETURNING *", args: []any{1, 1}, outside: "ALTER TABLE x ALTER COLUMN n TYPE bigint"},
		{text: "UPDATE x SET n = n + $1 WHERE id = $2 RETURNING *", args: []any{"1", 1}, outside: "ALTER TABLE x ALTER COLUMN n TYPE numeric(9,2)"},
		{text: "UPDATE x SET s = $1 RETURNING s", args: []any{"abc"}, outside: "ALTER TABLE x ALTER COLUMN s TYPE varchar(1)"},
		{text: "UPDATE x SET s = $1 WHERE id = 1 RETURNING s", args: []any{"abc"}, outside: "UPDATE x SET s = ''; ALTER TABLE x ALTER COLUMN s TYPE char(5)"},
		{text: "UPDATE x SET n = n + $1 RETURNING n", args: []any{1}, outside: "ALTER TABLE x RENAME COLUMN n TO o"},
		{text: "UPDATE x SET n = n + $1 WHERE id = 1 RETURNING n", args: []any{1}, outside: "ALTER TABLE x RENAME COLUMN n TO o; ALTER TABLE x ADD COLUMN n int DEFAULT 8"},
		{text: "UPDATE x SET n = n + $1 WHERE id = 1 RETURNING n", args: []any{1}, outside: "CREATE INDEX ON x (n); CREATE UNIQUE INDEX ON x (s)"},
		{text: "INSERT INTO x (id) VALUES ($1) RETURNING n", args: []any{5}, outside: "ALTER TABLE x ALTER COLUMN n SET DEFAULT 5"},
		{text: "INSERT INTO x (id) VALUES ($1) RETURNING n", args: []any{5}, outside: "ALTER TABLE x ADD CHECK (id < 5)"},
		{text: "INSERT INTO x VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = x.n + excluded.n RETURNING n", args: []any{1, 5}, outside: "ALTER TABLE x ALTER COLUMN n TYPE bigint"},
		{text: "UPDATE m SET n = n + 1 RETURNING id, n", outside: "CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20); INSERT INTO m VALUES (11, 11)"},
		{text: "UPDATE m SET n = n + 1 RETURNING id, n", outside: "ALTER TABLE m DETACH PARTITION m1"},
		{text: "UPDATE m1 SET n = n + 1 RETURNING id, n", outside: "ALTER TABLE m DETACH PARTITION m1"},
		{text: "UPDATE m1 SET n = n + 1 RETURNING id, n", outside: "ALTER TABLE m DETACH PARTITION m1; ALTER TABLE m ATTACH PARTITION m1 FOR VALUES FROM (0) TO (11)"},
		{text: "UPDATE y SET n = n + 1 RETURNING id, n", outside: "DROP TABLE m; CREATE TABLE m (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); ALTER TABLE m ATTACH PARTITION y FOR VALUES FROM (0) TO (9)"},
		// Who may do it.
		{text: "UPDATE x SET n = n + 1 WHERE id = $1 RETURNING n", args: []any{1}, session: "SET ROLE gtx_test_low"},
		{text: "UPDATE x SET n = n + 1 WHERE id = $1 RETURNING n", args: []any{1}, outside: "ALTER TABLE x ENABLE ROW LEVEL SECURITY; GRANT ALL ON x TO gtx_test_low", session: "SET ROLE gtx_test_low"},
		// Arguments.
		{text: "UPDATE x SET s = $1::int::text, n = $1 WHERE id = 1 RETURNING s, n", args: []any{"7"}},
		{text: "UPDATE x SET s = $2 WHERE $1::text IS NULL RETURNING s", args: []any{nil, nil}},
		{text: "UPDATE x SET at = $1 WHERE id = 1 RETURNING at = now()", args: []any{"now"}},
		{text: "INSERT INTO x (id, arr) VALUES ($1, $2) RETURNING arr::text", args: []any{"5", []byte("{a,NULL}")}},
		{text: "DELETE FROM x RETURNING id, d"},
	}
	for n, tt := range tests {
		t.Run(fmt.Sprint(n, " ", tt.text, " ", tt.session, tt.outside), func(t *testing.T) {
			b.T = t
			b.run(strings.Join(fill, ";"))
			br := b.begin(uint64(n + 1))
			defer br.conn.Close()
			r, err := br.request(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			bare := func() (*proxy.Buffer, error) {
				defer br.anew()
				return query(t.Context(), br.conn, tt.text, br.Passing(named(tt.args), true))
			}
			check := func(r *proxy.Capture) error {
				want, werr := bare()
				got, gerr := br.repeat(r, tt.args...)
				kept := br.kept
				defer br.anew()
				wcode, _ := server(werr)
				switch {
				case errors.Is(gerr, gtx.ErrConflict):
					return gerr
				case wcode != "":
					if gcode, _ := server(gerr); gcode != wcode || !kept {
						t.Errorf("got %v, the bare driver %v", gerr, werr)
					}
				case gerr != nil || werr != nil:
					t.Errorf("got %v, the bare driver %v", gerr, werr)
				default:
					rows := got.Rows.(*proxy.Buffer) //nolint:errcheck // that is what Capture gives
					if diff := cmp.Diff(sorted(lines(t, want)), sorted(lines(t, rows))); diff != "" {
						t.Errorf("rows (-bare +captured):\n%s", diff)
					}
					now, err := br.request(tt.text)
					if err != nil {
						return err
					}
					buf, err := query(t.Context(), br.conn, "SELECT DISTINCT tbl FROM gtx_undo", br.Passing(nil, false))
					if err != nil || now.Members == nil && len(buf.Lines) > 0 && (len(buf.Lines) != 1 || asText(buf.Lines[0][0]) != now.Table.ID) {
						t.Errorf("undo rows of %v, want %s: %v", buf, now.Table.ID, err)
					}
				}
				return nil
			}
			for range 4 {
				if err := check(r); err != nil {
					t.Fatal(err)
				}
			}
			if n := br.prepared(); (n == 0) != tt.once {
				t.Errorf("%d captured statements are prepared", n)
			}
			if tt.session != "" {
				br.rollback()
				if _, err := br.conn.(driver.ExecerContext).ExecContext(t.Context(), tt.session, nil); err != nil {
					t.Fatal(err)
				}
				br.again()
			}
			if tt.outside != "" {
				br.rollback()
				b.run(tt.outside)
				br.again()
			}
			for range 2 {
				err := check(r)
				for try := 0; err != nil && try < 3; try++ {
					now, rerr := br.request(tt.text)
					if errors.Is(rerr, gtx.ErrUnsupported) {
						return
					} else if rerr != nil {
						t.Fatal(rerr)
					}
					r = now
					err = check(r)
				}
				if err != nil {
					t.Errorf("again and again: %v", err)
				}
			}
			br.rollback()
		})
	}
}
