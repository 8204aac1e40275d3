package pgsql

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

// parted are partitioned tables of each kind. The columns of the partitions low
// and deep stand in an order of their own, with a dropped one between.
var (
	parted = []string{
		"CREATE TABLE m (id int, at date, name text, n numeric(8,2) DEFAULT 0, twice numeric GENERATED ALWAYS AS (n * 2) STORED, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
		"CREATE TABLE low (name text, gone int, at date NOT NULL, n numeric(8,2) DEFAULT 0, id int NOT NULL, twice numeric GENERATED ALWAYS AS (n * 2) STORED)",
		"ALTER TABLE low DROP COLUMN gone", "ALTER TABLE m ATTACH PARTITION low FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
		"CREATE TABLE high PARTITION OF m FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (id)",
		"CREATE TABLE deep (twice numeric GENERATED ALWAYS AS (n * 2) STORED, id int NOT NULL, gone text, n numeric(8,2) DEFAULT 0, at date NOT NULL, name text)",
		"ALTER TABLE deep DROP COLUMN gone", "ALTER TABLE high ATTACH PARTITION deep FOR VALUES IN (1, 2, 3)", "CREATE TABLE high_rest PARTITION OF high DEFAULT",
		"CREATE TABLE rest PARTITION OF m DEFAULT",
		"CREATE TABLE h (id int PRIMARY KEY, n int) PARTITION BY HASH (id)", "CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "CREATE TABLE h1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
	}
	partedFill = []string{
		"TRUNCATE m, h", "INSERT INTO m VALUES (1, '2020-05-01', 'a', 1), (2, '2020-06-01', NULL, NULL), (1, '2021-05-01', 'b', 2), (7, '2021-05-01', '', 3), (9, '1999-01-01', 'z', 9)",
		"INSERT INTO h SELECT i, i FROM generate_series(1, 6) AS i",
	}
	partedSee = []string{"SELECT tableoid::regclass, * FROM m ORDER BY id, at", "SELECT tableoid::regclass, * FROM h ORDER BY id"}
)

func TestPartitioned(t *testing.T) { onEach(t, testPartitioned) }

func testPartitioned(t *testing.T) {
	cases := []bareCase{
		{"UPDATE m SET n = n + 1 RETURNING *", nil, 0},
		{"UPDATE m SET n = n + 1 WHERE at < '2021-01-01' RETURNING m.tableoid::regclass, n, twice", nil, 0},
		{"UPDATE low SET n = 5, name = $1 RETURNING *", []any{"x"}, 0},
		{"UPDATE deep AS d SET n = h.n FROM h WHERE h.id = d.id RETURNING d.*, h.*", nil, 0},
		{"UPDATE m SET at = '2021-07-01' WHERE id = 2 RETURNING *, tableoid::regclass", nil, 0}, // to another partition
		{"UPDATE high SET id = 8 WHERE id = 1 RETURNING *", nil, 0},
		{"UPDATE m SET at = at + 1000, n = n + 1 WHERE id <> 7", nil, 0},
		{"UPDATE deep SET name = NULL, id = 3 WHERE id = 1", nil, 0},
		{"DELETE FROM m WHERE id = 1 RETURNING *", nil, 0},
		{"DELETE FROM low RETURNING name, low.id", nil, 0},
		{"DELETE FROM deep USING h WHERE h.id = deep.id", nil, 0},
		{"INSERT INTO m VALUES (50, '2020-05-05', 'new'), (51, '2021-05-05', 'new'), (52, '1000-01-01', NULL) RETURNING *", nil, 0},
		{"INSERT INTO low (id, at) VALUES (50, '2020-05-05') RETURNING *", nil, 0},
		{"INSERT INTO deep (id, at, name) SELECT id, '2021-09-09', 'i' FROM h WHERE id < 4 ON CONFLICT DO NOTHING RETURNING id", nil, 0},
		{"WITH d AS (DELETE FROM low RETURNING name, at, id, n), i AS (INSERT INTO h SELECT id + 10, n FROM d RETURNING id) SELECT name, at, i.id FROM d JOIN i ON i.id = d.id + 10", nil, 0},
		{"UPDATE h SET n = 0 WHERE id IN (1, 2, 3)", nil, 0},
		{"UPDATE h SET id = id + 100 WHERE id < 4 RETURNING id", nil, 0},
		{"UPDATE ONLY h SET n = 0", nil, 0},
		{"DELETE FROM h0", nil, 0},
		{"INSERT INTO h VALUES (70, 7) RETURNING *", nil, 0},
	}
	cases = append(cases, []bareCase{
		{"INSERT INTO deep (id, at, name) VALUES (1, '2021-05-01', 'up'), (2, '2021-05-01', 'in') ON CONFLICT (id, at) DO UPDATE SET name = excluded.name RETURNING id, name", nil, 0},
		{"WITH d AS (DELETE FROM m WHERE id = 1 RETURNING *) INSERT INTO h SELECT id + 40 + extract(year FROM at)::int, n FROM d RETURNING *", nil, 0},
	}...)
	if modern(t) {
		cases = append(cases,
			bareCase{"INSERT INTO h VALUES (1, 7), (70, 7) ON CONFLICT (id) DO UPDATE SET n = excluded.n RETURNING *, old.n", nil, 0},
			bareCase{"INSERT INTO m VALUES (1, '2021-05-01', 'up'), (60, '2021-05-01', 'in'), (61, '2020-05-05', 'in') ON CONFLICT (id, at) DO UPDATE SET name = excluded.name RETURNING id, name", nil, 0},
			bareCase{"INSERT INTO deep (id, at, name) VALUES (1, '2021-05-01', 'up'), (2, '2021-05-01', 'in') ON CONFLICT (id, at) DO UPDATE SET name = excluded.name RETURNING id, name", nil, 0},
			bareCase{"MERGE INTO m USING h ON h.id = m.id WHEN MATCHED AND m.at < '2021-01-01' THEN DELETE WHEN MATCHED THEN UPDATE SET at = '2020-02-02' WHEN NOT MATCHED THEN INSERT (id, at) VALUES (h.id, '2021-05-05') RETURNING m.id, merge_action()", nil, 0},
		)
		cases[len(cases)-1].merged = 7
	}
	setup(t, parted...).sameAsBare(partedFill, "SELECT 1", partedSee, cases)
}

// One row has one lock, by whatever name it was reached, and moving to another
// partition is a change like any other (rule T4).
func TestPartitionLocks(t *testing.T) { onEach(t, testPartitionLocks) }

func testPartitionLocks(t *testing.T) {
	b := setup(t, append(parted, partedFill...)...)
	start := b.read("SELECT tableoid::regclass, * FROM m ORDER BY id, at")
	byName := []string{"UPDATE %s SET n = n + 1 WHERE id = 1 AND at = '2021-05-01'", "DELETE FROM %s WHERE id = 1 AND at = '2021-05-01'"}
	names := []string{"m", "high", "deep"}
	xid := uint64(0)
	for _, first := range names {
		for _, second := range names {
			xid += 2
			b.begin(xid).do("UPDATE " + first + " SET n = n + 1 WHERE id = 1 AND at = '2021-05-01'").commit()
			b.want("SELECT DISTINCT tbl FROM gtx_undo", `"public"."m"`)
			for _, text := range byName {
				br := b.begin(xid + 1)
				if _, err := br.capture(false, fmt.Sprintf(text, second)); !errors.Is(err, gtx.ErrConflict) {
					t.Errorf("%s while %s is held: got %v, want ErrConflict", text, first, err)
				}
				br.rollback()
			}
			br := b.begin(xid) // the own XID meets its own after image
			for _, text := range byName {
				br.do(fmt.Sprintf(text, second))
			}
			br.commit()
			b.undone(xid)
			b.want("SELECT tableoid::regclass, * FROM m ORDER BY id, at", start)
			// A foreign write through any name is seen.
			b.begin(xid).do("UPDATE " + first + " SET n = n + 1 WHERE id = 1 AND at = '2021-05-01'").commit()
			b.run("UPDATE " + second + " SET n = n + 50 WHERE id = 1 AND at = '2021-05-01'")
			if err := b.abort(xid); !errors.Is(err, gtx.ErrDirty) {
				t.Errorf("abort: got %v, want ErrDirty", err)
			}
			b.run("UPDATE " + second + " SET n = n - 50 WHERE id = 1 AND at = '2021-05-01'")
			b.undone(xid)
		}
	}
	for text, code := range map[string]string{
		"INSERT INTO h VALUES (1, 7) ON CONFLICT (id) DO UPDATE SET n = 5":                              "on-conflict",
		"WITH d AS (DELETE FROM low RETURNING *) SELECT 1 FROM d":                                       "cte-returning",
		"INSERT INTO deep VALUES (0, 1, 1, '2021-05-01', 'x') ON CONFLICT (id, at) DO UPDATE SET n = 5": "on-conflict",
		"WITH a AS (UPDATE low SET n = 1), b AS (UPDATE high_rest SET n = 2) SELECT 1":                  "cte-twice",
		"WITH a AS (UPDATE deep SET n = 1) DELETE FROM m":                                               "cte-twice",
	} {
		br := b.begin(999)
		var un *gtx.UnsupportedError
		if _, err := br.capture(false, text); (!modern(t) || code != "on-conflict") && (!errors.As(err, &un) || un.Code != code) {
			t.Errorf("%s: got %v, want %s", text, err, code)
		}
		br.rollback()
	}
	br := b.begin(1000)
	for _, text := range []string{
		"UPDATE m SET at = '2020-03-03' WHERE id = 1 AND at = '2021-05-01'", "UPDATE low SET n = 77 WHERE at = '2020-03-03'", "UPDATE m SET at = '1990-01-01' WHERE n = 77", "UPDATE rest SET id = 5 WHERE id = 1",
		"UPDATE m SET id = 1, at = '2021-05-01', n = 8 WHERE id = 5",
	} {
		br.do(text)
	}
	br.commit()
	b.undone(1000)
	b.want("SELECT tableoid::regclass, * FROM m ORDER BY id, at", start)
}

// What is true of any partition is true of the whole.
func TestPartitionsRefused(t *testing.T) {
	b := setup(t,
		"CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
		"CREATE TABLE trig (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE trig1 PARTITION OF trig DEFAULT", "CREATE TRIGGER t AFTER INSERT ON trig1 FOR EACH ROW EXECUTE FUNCTION nothing()",
		"CREATE TABLE top (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE top1 PARTITION OF top DEFAULT", "CREATE TABLE sub (id int PRIMARY KEY REFERENCES top1 ON DELETE CASCADE)",
		"CREATE TABLE cas (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE cas1 PARTITION OF cas DEFAULT", "CREATE TABLE csub (id int PRIMARY KEY REFERENCES cas ON DELETE CASCADE)",
		"CREATE TABLE forget (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE UNLOGGED TABLE forget1 PARTITION OF forget DEFAULT",
		"CREATE FOREIGN DATA WRAPPER far", "CREATE SERVER far FOREIGN DATA WRAPPER far", "CREATE FOREIGN TABLE away (id int) SERVER far",
		"CREATE TABLE farther (id int) PARTITION BY RANGE (id)", "CREATE FOREIGN TABLE farther1 PARTITION OF farther DEFAULT SERVER far",
		"CREATE TABLE keyless (id int) PARTITION BY RANGE (id)", "CREATE TABLE keyless1 PARTITION OF keyless (PRIMARY KEY (id)) DEFAULT",
		"CREATE TABLE empty (id int PRIMARY KEY) PARTITION BY RANGE (id)",
	)
	for name, code := range map[string]string{
		"trig": "trigger", "trig1": "trigger", "top": "cascade", "top1": "cascade", "cas": "cascade", "cas1": "cascade", "forget": "unlogged", "forget1": "unlogged",
		"away": "foreign-table", "farther": "no-key", "farther1": "foreign-table", "keyless": "no-key", "keyless1": "", "empty": "",
	} {
		got, err := b.Table(t.Context(), queryDB(b.db), ident("public")+"."+ident(name))
		var un *gtx.UnsupportedError
		switch {
		case code == "" && err != nil, code != "" && (!errors.As(err, &un) || un.Code != code):
			t.Errorf("%s: got %v, want code %q", name, err, code)
		case code == "" && got.ID != `"public".`+ident(name):
			t.Errorf("%s: the locks belong to %s", name, got.ID)
		}
	}
}

// Row-level security matters where it applies to the user.
func TestRowSecurity(t *testing.T) {
	b := setup(t, "CREATE TABLE sec (id int PRIMARY KEY, n int)", "INSERT INTO sec VALUES (1, 1), (2, 2)", "ALTER TABLE sec ENABLE ROW LEVEL SECURITY",
		"CREATE POLICY p ON sec USING (id = 1)", "DO 'BEGIN CREATE ROLE gtx_test_low; EXCEPTION WHEN duplicate_object THEN NULL; END'",
		"GRANT ALL ON ALL TABLES IN SCHEMA public TO gtx_test_low")
	b.begin(1).exec(2, "UPDATE sec SET n = n + 1").commit()
	b.undone(1)
	b.want("SELECT * FROM sec ORDER BY id", "1|1\n2|2")
	conn, err := b.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "SET ROLE gtx_test_low"); err != nil {
		t.Fatal(err)
	}
	var un *gtx.UnsupportedError
	if _, err := b.Table(t.Context(), queryDB(conn), `"public"."sec"`); !errors.As(err, &un) || un.Code != "row-security" {
		t.Errorf("got %v, want row-security", err)
	}
	// Known as the owner sees it, and used by another role of the session.
	br := b.begin(2, "SET ROLE gtx_test_low")
	if _, err := br.capture(false, "UPDATE sec SET n = n + 1"); err == nil || errors.Is(err, gtx.ErrUnsupported) {
		t.Errorf("got %v, want an error that makes the caller roll back", err)
	}
	br.rollback()
	b.want("SELECT * FROM sec ORDER BY id", "1|1\n2|2")
}

// Rows that others move to another partition meanwhile are captured as they were,
// or the statement conflicts.
func TestPartitionRace(t *testing.T) { onEach(t, testPartitionRace) }

func testPartitionRace(t *testing.T) {
	b := setup(t, "CREATE TABLE r (id int, part int, ver int, PRIMARY KEY (id, part)) PARTITION BY LIST (part)", "CREATE TABLE r0 PARTITION OF r FOR VALUES IN (0)",
		"CREATE TABLE r1 (ver int, part int NOT NULL, id int NOT NULL)", "ALTER TABLE r ATTACH PARTITION r1 FOR VALUES IN (1)", "INSERT INTO r SELECT i, i % 2, 0 FROM generate_series(1, 6) AS i")
	stop := make(chan struct{})
	var outside sync.WaitGroup
	for w := range 2 {
		outside.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := b.db.Exec(fmt.Sprintf("UPDATE r SET part = 1 - part, ver = ver + 1 WHERE id = %d", 1+(i+w*3)%6)); err != nil && b.Classify(err) != undo.Conflict {
					t.Error(err)
					return
				}
			}
		})
	}
	rows, conflicts, br := 0, 0, b.begin(1, generic)
	texts := []*proxy.Capture{br.must("UPDATE r SET ver = ver + 1 RETURNING id, ver"), br.must("UPDATE r1 SET ver = ver + 1 RETURNING id, ver"), br.must("UPDATE r SET part = part WHERE id = 3 RETURNING id, ver + 1")}
	for i := range 60 {
		got, err := br.repeat(texts[i%3])
		if errors.Is(err, gtx.ErrConflict) {
			conflicts++
		} else if err != nil {
			t.Fatal(err)
		} else {
			changed := got.Rows.(*proxy.Buffer).Lines //nolint:errcheck // that is what Capture gives
			rows += len(changed)
			buf, err := query(t.Context(), br.conn, "SELECT (before_img::r).id::int8, (before_img::r).ver::int8 + 1 FROM gtx_undo WHERE op = 'U' AND tbl LIKE '%\"r\"'", nil)
			if err != nil {
				t.Fatal(err)
			}
			before := map[int64]int64{}
			for _, r := range buf.Lines {
				before[asInt(r[0])] = asInt(r[1])
			}
			for _, r := range changed {
				if before[asInt(r[0])] != asInt(r[1]) || len(before) != len(changed) {
					t.Errorf("row %v became version %v, captured %v", r[0], r[1], before)
				}
			}
		}
		br.anew()
	}
	close(stop)
	outside.Wait()
	if rows == 0 {
		t.Error("no row was captured at all")
	}
	t.Logf("%d rows, %d conflicts", rows, conflicts)
}
