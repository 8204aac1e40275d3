package pgsql

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

// twoShops are tables for statements that write several.
var (
	twoShops = append([]string{
		`CREATE TABLE live (id int PRIMARY KEY, "Name" text, n numeric, gone int)`, "ALTER TABLE live DROP COLUMN gone",
		`CREATE TABLE old (id int PRIMARY KEY, "Name" text, n numeric)`,
		"CREATE TABLE top (id int PRIMARY KEY, code text UNIQUE, n int)", "CREATE TABLE sub (id int PRIMARY KEY, top int REFERENCES top, code text REFERENCES top (code), n int)",
		"CREATE TABLE leaf (id int PRIMARY KEY, sub int REFERENCES sub)",
	}, shop...)
	twoFill = append([]string{
		"TRUNCATE live, old, top, sub, leaf", `INSERT INTO live VALUES (1, 'a', 1), (2, 'b', 2), (3, NULL, NULL)`, `INSERT INTO old VALUES (9, 'z', 9)`,
		"INSERT INTO top VALUES (1, 'x', 1), (2, 'y', 2), (3, 'z', 3)", "INSERT INTO sub VALUES (10, 1, 'x', 1), (11, 1, NULL, 2), (20, 2, 'y', 3)",
		"INSERT INTO leaf VALUES (100, 10), (200, 20)",
	}, shopFill...)
	twoSee = append([]string{
		"SELECT * FROM live ORDER BY id", "SELECT * FROM old ORDER BY id", "SELECT * FROM top ORDER BY id", "SELECT * FROM sub ORDER BY id", "SELECT * FROM leaf ORDER BY id",
	}, shopSee...)
)

func TestWritingWith(t *testing.T) { onEach(t, testWritingWith) }

func testWritingWith(t *testing.T) {
	cases := []bareCase{
		{"WITH d AS (DELETE FROM live WHERE id < 3 RETURNING *) INSERT INTO old SELECT * FROM d", nil, 0},
		{"WITH d AS (DELETE FROM live RETURNING *) INSERT INTO old SELECT * FROM d RETURNING id, n", nil, 0},
		{"WITH d AS (DELETE FROM live WHERE id = $2 RETURNING live.*), e AS (SELECT id + $1 AS id FROM d) INSERT INTO old (id) SELECT id FROM e RETURNING *", []any{50, 2}, 0},
		{"WITH u AS (UPDATE live SET n = n + 1 WHERE id < 3 RETURNING id, n AS amount, live.\"Name\") SELECT amount, \"Name\", u.id FROM u ORDER BY amount DESC", nil, 0},
		{"WITH u AS (UPDATE live AS l SET n = 5 RETURNING l.*) SELECT count(*), sum(n) FROM u", nil, 0},
		{"WITH u (a, b) AS MATERIALIZED (UPDATE live SET n = 5 WHERE id = 1 RETURNING id, n -- two\n) SELECT * FROM u, u AS v WHERE u.a = v.a", nil, 0},
		{"WITH u AS (UPDATE live SET n = 5) SELECT 1 AS one", nil, 0},
		{"WITH u AS (UPDATE live SET n = 5 RETURNING id) SELECT * FROM u WHERE false", nil, 0},
		{"WITH u AS (UPDATE live SET n = 5 WHERE false RETURNING id) SELECT id, 7 FROM u", nil, 0},
		{"WITH u AS (UPDATE live SET n = NULL RETURNING n) SELECT n FROM u", nil, 0}, // rows of nothing but NULL
		{"WITH i AS (INSERT INTO live VALUES (5, 'new', 5), (1, 'not', 1) ON CONFLICT DO NOTHING RETURNING id) UPDATE old SET n = i.id FROM i WHERE old.id = 9 RETURNING old.*, i.id", nil, 0},
		{"WITH i AS (INSERT INTO live VALUES (5, 'new', 5), (1, 'up', 1) ON CONFLICT (id) DO UPDATE SET \"Name\" = excluded.\"Name\" RETURNING *), d AS (DELETE FROM old RETURNING n) SELECT i.*, d.* FROM i, d", nil, 0},
		{"WITH a AS (UPDATE live SET n = 0 RETURNING id), b AS (DELETE FROM old WHERE id = 9), c AS (UPDATE item SET n = n + 1 WHERE id IN (SELECT id FROM a) RETURNING name) INSERT INTO mail (id, addr) SELECT 70, max(name) FROM c", nil, 0},
		{"WITH k AS (UPDATE live SET id = id + 10 WHERE id < 3 RETURNING id, n), d AS (DELETE FROM old) SELECT k.id AS id FROM k", nil, 0},
		{`WITH u AS (UPDATE "order" SET total = 0 FROM line WHERE line."order" = "order".id RETURNING "order".id, line.n AS "line n"), x AS NOT MATERIALIZED (SELECT max(id) AS m FROM u) DELETE FROM item USING x WHERE item.id = x.m`, nil, 0},
		{"WITH q AS (SELECT 1 AS id), d AS (DELETE FROM live USING q WHERE live.id = q.id RETURNING live.id, live.\"Name\" AS nm) DELETE FROM old USING d WHERE old.id = d.id + 8 RETURNING d.nm, old.*", nil, 0},
		{"WITH d AS (DELETE FROM live WHERE id = 1 RETURNING id) VALUES (1, 'a'), (2, 'b')", nil, 0},
		{"WITH d AS (DELETE FROM live WHERE id = 1 RETURNING id, id) TABLE d", nil, 0},
		{"WITH d AS (DELETE FROM live RETURNING n), e AS (SELECT 1) (SELECT n FROM d UNION ALL SELECT 7) ORDER BY 1 LIMIT 2;", nil, 0},
		{"WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 2), d AS (DELETE FROM live USING r WHERE live.id = r.n RETURNING live.id) SELECT * FROM d", nil, 0},
		{"WITH d AS (DELETE FROM item WHERE id = 1 RETURNING id, now() AS at, name || 'x' AS \"as\", (n) AS n) SELECT id, \"as\", n FROM d", nil, 0},
		{"WITH d AS (DELETE FROM ident RETURNING k AS key), i AS (INSERT INTO item DEFAULT VALUES) SELECT key FROM d", nil, 0},
		{"WITH RECURSIVE r (n, up) AS (VALUES (1, 0) UNION ALL SELECT n + 1, n FROM r WHERE n < 3) SEARCH DEPTH FIRST BY n, up SET ord CYCLE n, up SET again USING path, d AS (DELETE FROM live USING r WHERE live.id = r.n AND NOT r.again RETURNING live.id) SELECT id FROM d", nil, 0},
		{"WITH u AS (UPDATE live SET n = n + (SELECT max(n) FROM old) WHERE id < 3 RETURNING id, n), d AS (DELETE FROM old WHERE id = 9 RETURNING n) SELECT (SELECT sum(n) FROM live), u.n, d.n FROM u, d", nil, 0},
		{"WITH \"_gtx_u\" AS (UPDATE live SET n = 1 RETURNING id AS \"_gtx_h\"), \"WITH x AS (\" AS (SELECT '),(' AS \"), y AS (\") SELECT * FROM \"_gtx_u\", \"WITH x AS (\"", nil, 0},
		{"WITH u AS (UPDATE live SET n = n + x.by FROM (VALUES (1, 1), (1, 1), (2, 5)) AS x (id, by) WHERE x.id = live.id RETURNING live.id, live.n) SELECT u.* FROM u, generate_series(1, 2)", nil, 0},
		{"WITH u AS (UPDATE live SET n = 4 WHERE false RETURNING id), d AS (DELETE FROM old WHERE false RETURNING *) SELECT count(*) FROM u, d", nil, 0},
		// Foreign keys: what refers to what is undone in the right order.
		{"WITH d AS (DELETE FROM leaf RETURNING sub), s AS (DELETE FROM sub WHERE id IN (SELECT sub FROM d) RETURNING top) DELETE FROM top WHERE id = 2", nil, 0},
		{"WITH t AS (INSERT INTO top VALUES (7, 'q', 7) RETURNING id), s AS (INSERT INTO sub VALUES (70, 7, 'q', 0) RETURNING id) INSERT INTO leaf VALUES (700, 70)", nil, 0},
		{"WITH s AS (INSERT INTO sub VALUES (70, 7, 'q', 0) RETURNING id), t AS (INSERT INTO top VALUES (7, 'q', 7)) UPDATE leaf SET sub = 70", nil, 0},
		{"WITH t AS (INSERT INTO top VALUES (7, 'q', 7) RETURNING id) UPDATE sub SET top = 7, code = 'q' RETURNING *", nil, 0},
		{"WITH t AS (UPDATE top SET n = n + 1 RETURNING id) DELETE FROM leaf RETURNING sub", nil, 0},
		{"WITH s AS (UPDATE sub SET n = n + 1, code = NULL RETURNING id) DELETE FROM leaf RETURNING sub", nil, 0},
		{"WITH s AS (UPDATE sub SET top = 1, code = NULL RETURNING id) DELETE FROM top WHERE id = 2", nil, 0},
	}
	if modern(t) {
		cases = append(cases,
			bareCase{"WITH u AS (UPDATE live SET n = n + 1 RETURNING old.*) SELECT n FROM u", nil, 0},
			bareCase{"WITH u AS (UPDATE live SET n = n + 1 RETURNING WITH (OLD AS o) o.n AS was, new.n AS n, o.*) SELECT * FROM u", nil, 0},
			bareCase{"WITH m AS (MERGE INTO live USING (VALUES (1), (8)) AS v (i) ON v.i = live.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.i) RETURNING merge_action() AS act, live.*) INSERT INTO old (id, \"Name\") SELECT id + 20, act FROM m", nil, 0},
			bareCase{"WITH i AS (INSERT INTO mail VALUES (7, 'a@b', 7) ON CONFLICT (addr) DO UPDATE SET id = 70, n = 5 RETURNING id) SELECT id FROM i", nil, 0},
		)
	}
	setup(t, twoShops...).sameAsBare(twoFill, shopReset, twoSee, cases)
}

// The rows of a query come in the order that it asks for, and its errors are the
// server's own.
func TestWritingWithRows(t *testing.T) { onEach(t, testWritingWithRows) }

func testWritingWithRows(t *testing.T) {
	b := setup(t, "CREATE TABLE r (id int PRIMARY KEY, n int)", "INSERT INTO r SELECT i, i * 7919 % 100 FROM generate_series(1, 100) AS i")
	br := b.begin(1)
	got, err := br.capture(true, "WITH u AS (UPDATE r SET n = n + 1 RETURNING n) SELECT n FROM u ORDER BY n DESC OFFSET 5")
	if err != nil {
		t.Fatal(err)
	}
	rows := got.Rows.(*proxy.Buffer).Lines //nolint:errcheck // that is what Capture gives
	if len(rows) != 95 || got.RowsAffected != 95 {
		t.Fatalf("%d rows, %d affected, want 95", len(rows), got.RowsAffected)
	}
	for i, row := range rows {
		if row[0] != int64(95-i) {
			t.Fatalf("row %d is %v", i, row[0])
		}
	}
	br.commit()
	b.undone(1)
	b.want("SELECT sum(n), count(*) FROM r", "4950|100")
	b.run("CREATE TABLE u (x int)")
	for _, text := range []string{
		"WITH u AS (UPDATE r SET n = 0) SELECT * FROM u", // not the table
		"WITH u AS (UPDATE r SET n = 0 RETURNING id) SELECT nothing FROM u",
		"WITH u AS (UPDATE r SET n = 1 / 0 RETURNING id) SELECT id FROM u",
		"WITH u AS (UPDATE r SET n = 0 RETURNING id) SELECT 1 / 0 FROM u",
	} {
		br := b.begin(2)
		if _, err := br.capture(true, text); err == nil || !br.kept {
			t.Errorf("%s: got %v, want the server's own error", text, err)
		}
		br.rollback()
	}
}

// Foreign keys that only a partition has, or that lead to one, count too.
func TestWritingWithKeysOfPartitions(t *testing.T) { onEach(t, testWritingWithKeysOfPartitions) }

func testWritingWithKeysOfPartitions(t *testing.T) {
	b := setup(t, "CREATE TABLE a (id int PRIMARY KEY, n int)", "CREATE TABLE p (id int PRIMARY KEY, a int) PARTITION BY RANGE (id)", "CREATE TABLE p1 PARTITION OF p DEFAULT",
		"ALTER TABLE p1 ADD FOREIGN KEY (a) REFERENCES a", "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p1)", "INSERT INTO a VALUES (1, 1)", "INSERT INTO p VALUES (5, 1)", "INSERT INTO c VALUES (9, 5)")
	for i, text := range []string{
		"WITH x AS (DELETE FROM c), y AS (DELETE FROM p) DELETE FROM a", "WITH x AS (DELETE FROM a), y AS (DELETE FROM p1) DELETE FROM c",
		"WITH x AS (INSERT INTO c VALUES (10, 6)), y AS (INSERT INTO p VALUES (6, 2)) INSERT INTO a VALUES (2, 2)",
		"WITH x AS (INSERT INTO a VALUES (2, 2)), y AS (INSERT INTO p1 VALUES (6, 2)) INSERT INTO c VALUES (10, 6)",
	} {
		br := b.begin(uint64(1 + i))
		if _, err := br.capture(false, text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		br.commit()
		b.undone(uint64(1 + i))
		b.want("SELECT (SELECT sum(id) FROM a), (SELECT sum(id) FROM p), (SELECT sum(id) FROM c)", "1|5|9")
	}
}

// Every part is a change like any other: global locks of others, rows that are no
// longer what the XID left, and again in the same XID (rule T4).
func TestWritingWithLocks(t *testing.T) { onEach(t, testWritingWithLocks) }

func testWritingWithLocks(t *testing.T) {
	b := setup(t, "CREATE TABLE acct (id int PRIMARY KEY, n int)", "CREATE TABLE book (id int PRIMARY KEY, n int)", "INSERT INTO acct VALUES (1, 10), (2, 20)", "INSERT INTO book VALUES (1, 0)")
	const texts = 3
	text := func(i int) string {
		return []string{
			"WITH u AS (UPDATE acct SET n = n - 1 WHERE id = 1 RETURNING n) UPDATE book SET n = n + 1 WHERE id = 1",
			"WITH u AS (UPDATE acct SET n = n - 1 WHERE id = 1 RETURNING n), v AS (UPDATE book SET n = n + 1 WHERE id = 1 RETURNING n) SELECT u.n, v.n FROM u, v",
			"WITH v AS (INSERT INTO book VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET n = book.n + 1 RETURNING n) DELETE FROM acct WHERE id = 1",
		}[i]
	}
	start := func() string { return b.read("SELECT * FROM acct ORDER BY id") + "/" + b.read("SELECT * FROM book") }
	before := start()
	for i := range texts {
		for _, held := range []string{"UPDATE acct SET n = 0 WHERE id = 1", "UPDATE book SET n = 9"} {
			b.begin(1).exec(1, held).commit()
			br := b.begin(2)
			if _, err := br.capture(true, text(i)); !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("%s: got %v, want ErrConflict", text(i), err)
			}
			br.rollback()
			b.undone(1)
		}
		for _, table := range []string{"acct", "book"} {
			br := b.begin(3)
			if _, err := br.capture(true, text(0)); err != nil {
				t.Fatal(err)
			}
			br.commit()
			b.run("UPDATE " + table + " SET n = n + 50 WHERE id = 1")
			br = b.begin(3)
			if _, err := br.capture(true, text(i)); !errors.Is(err, gtx.ErrDirty) {
				t.Errorf("%s over a foreign write: got %v, want ErrDirty", text(i), err)
			}
			br.rollback()
			if err := b.abort(3); !errors.Is(err, gtx.ErrDirty) {
				t.Errorf("abort: got %v, want ErrDirty", err)
			}
			b.run("UPDATE " + table + " SET n = n - 50 WHERE id = 1")
			b.undone(3)
		}
		br := b.begin(4)
		for range 3 {
			if _, err := br.capture(true, text(i)); err != nil {
				t.Fatal(err)
			}
			br.commit()
			br = b.begin(4)
		}
		br.rollback()
		b.undone(4)
		if diff := cmp.Diff(before, start()); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestWritingWithRefused(t *testing.T) {
	b := setup(t, twoShops...)
	for text, code := range map[string]string{
		"WITH a AS (UPDATE live SET n = 1), b AS (UPDATE public.live SET n = 2) SELECT 1":                                                "cte-twice",
		"WITH a AS (UPDATE live SET n = 1 WHERE id = 1) DELETE FROM live WHERE id = 2":                                                   "cte-twice",
		"WITH a AS (DELETE FROM live RETURNING id + 1) SELECT * FROM a":                                                                  "cte-returning",
		"WITH a AS (DELETE FROM live RETURNING id one) SELECT * FROM a":                                                                  "cte-returning",
		"WITH a AS (DELETE FROM live RETURNING true) SELECT * FROM a":                                                                    "cte-returning",
		"WITH a AS (DELETE FROM live USING old RETURNING *) SELECT * FROM a":                                                             "cte-returning",
		"WITH a AS (DELETE FROM live USING old RETURNING old.*) SELECT * FROM a":                                                         "cte-returning",
		"WITH a AS (DELETE FROM odd RETURNING (k).*) SELECT * FROM a":                                                                    "cte-returning",
		"WITH a AS (DELETE FROM odd RETURNING (k).a) SELECT * FROM a":                                                                    "cte-returning",
		"WITH a AS (DELETE FROM live RETURNING $1) SELECT * FROM a":                                                                      "cte-returning",
		"WITH a AS (WITH b AS (SELECT 1) DELETE FROM live) SELECT 1":                                                                     "cte-write",
		"WITH a AS (DELETE FROM live RETURNING id) SELECT * FROM old WHERE id IN (SELECT id FROM a) FOR UPDATE":                          "cte-write",
		"WITH t AS (UPDATE top SET code = 'w' WHERE id = 2 RETURNING code) UPDATE sub SET code = 'w' WHERE id = 20":                      "cte-order",
		"WITH t AS (UPDATE top SET id = 5 WHERE id = 2) UPDATE sub SET top = 5 WHERE id = 20":                                            "cte-order",
		"WITH a AS (DELETE FROM pick) UPDATE live SET n = 1":                                                                             "no-key",
		"WITH a AS (DELETE FROM nowhere) UPDATE live SET n = 1":                                                                          "no-table",
		"WITH a AS (UPDATE ident SET k = 1) UPDATE live SET n = 1":                                                                       "identity-update",
		"WITH a AS (INSERT INTO item (name) VALUES ('x') ON CONFLICT (id) DO UPDATE SET n = 1) UPDATE live SET n = 1":                    "on-conflict",
		"WITH a AS (UPDATE live SET n = 1), g AS (SELECT random() AS v) UPDATE item SET n = g.v FROM g, lower('A') WHERE random() > 0.5": "volatile-source",
	} {
		br := b.begin(1)
		_, err := br.capture(false, text)
		var un *gtx.UnsupportedError
		if !errors.As(err, &un) || un.Code != code || un.Reason == "" {
			t.Errorf("%s: got %v, want %s", text, err, code)
		}
		br.commit()
	}
	b.want("SELECT count(*) FROM gtx_branch", "0")
}

// The names that a member's columns have are the server's own.
func TestMemberColumns(t *testing.T) {
	b := setup(t, "CREATE TABLE c (id int PRIMARY KEY, \"Up\" int, \"a\"\"b\" int, user_ int)", "INSERT INTO c VALUES (1, 2, 3, 4)")
	bare := b.connect()
	for _, list := range []string{
		"*", "id", "ID", "c.*", "c.id, *", `"Up"`, `c."a""b"`, `id AS "X y"`, "id AS UPPER", "id + 1 AS plus, (id) AS \"(\", c", "CASE WHEN id IN (1, 2) THEN 'a,b' END AS as", "id /* , */ , \"Up\" -- x\n",
		"ARRAY[id, user_] AS l, $q$a,b$q$ AS q", "public.c.id", "c.id AS c",
	} {
		text := "UPDATE c SET user_ = 5 RETURNING " + list
		want, err := query(t.Context(), bare, text, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		br := b.begin(1)
		got, err := br.capture(true, "WITH d AS ("+text+") SELECT * FROM d")
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want.Columns(), got.Rows.Columns()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		} else if w, g := fmt.Sprint(want.Lines), fmt.Sprint(got.Rows.(*proxy.Buffer).Lines); w != g { //nolint:errcheck // that is what Capture gives
			t.Errorf("%s: got %s, want %s", text, g, w)
		}
		br.rollback()
		br.conn.Close()
	}
}

// While others write, remove and make the same rows, every row that moved from
// one table to the other was captured as it was.
func TestWritingWithRace(t *testing.T) { onEach(t, testWritingWithRace) }

func testWritingWithRace(t *testing.T) {
	b := setup(t, "CREATE TABLE r (id int PRIMARY KEY, grp int, ver int)", "CREATE TABLE s (id int PRIMARY KEY, ver int)", "INSERT INTO r SELECT i, i % 2, 0 FROM generate_series(1, 6) AS i",
		"INSERT INTO s SELECT i, 0 FROM generate_series(1, 6) AS i")
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
				id := 1 + (i+w*3)%6
				for _, text := range []string{
					fmt.Sprintf("UPDATE r SET ver = ver + 1, grp = 1 - grp WHERE id = %d", id), fmt.Sprintf("UPDATE s SET ver = ver + 1 WHERE id = %d", id),
					fmt.Sprintf("DELETE FROM r WHERE id = %d AND id > 4", id), fmt.Sprintf("INSERT INTO r VALUES (%d, 1, 1000) ON CONFLICT DO NOTHING", id),
				} {
					if _, err := b.db.Exec(text); err != nil && b.Classify(err) != undo.Conflict { // deadlocks with a capture happen
						t.Error(err)
						return
					}
				}
			}
		})
	}
	rows, conflicts, br := 0, 0, b.begin(1, generic)
	r := br.must("WITH u AS (UPDATE r SET ver = ver + 1 WHERE grp = 1 RETURNING id, ver), v AS (UPDATE s SET ver = u.ver FROM u WHERE u.id = s.id RETURNING s.id, s.ver)" +
		" SELECT u.id, u.ver FROM u LEFT JOIN v ON v.id = u.id")
	for range 60 {
		got, err := br.repeat(r)
		if errors.Is(err, gtx.ErrConflict) {
			conflicts++
		} else if err != nil {
			t.Fatal(err)
		} else {
			rows += len(got.Rows.(*proxy.Buffer).Lines) //nolint:errcheck // that is what Capture gives
			buf, err := query(t.Context(), br.conn, "SELECT (SELECT count(*) FROM gtx_undo JOIN r ON keyh <> '' AND tbl LIKE '%r\"' AND (before_img::r).id = r.id AND (before_img::r).ver + 1 = r.ver)"+
				" + (SELECT count(*) FROM gtx_undo AS o JOIN s ON tbl LIKE '%s\"' AND (before_img::s).id = s.id AND encode(sha256(record_send(s)), 'hex') = after_img), (SELECT count(*) FROM gtx_undo)", nil)
			if err != nil {
				t.Fatal(err)
			}
			if asInt(buf.Lines[0][0]) != asInt(buf.Lines[0][1]) {
				t.Errorf("%v of %v undo rows are exact", buf.Lines[0][0], buf.Lines[0][1])
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
