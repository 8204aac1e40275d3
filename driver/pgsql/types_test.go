package pgsql

import (
	"fmt"
	"strings"
	"testing"
)

// wideTable has a column of every kind of type that an image must carry.
var wideTable = []struct {
	typ    string
	values []string // SQL expressions, NULL is added
}{
	{"smallint", []string{"-32768"}},
	{"bigint", []string{"-9223372036854775808"}},
	{"numeric", []string{"'NaN'", "'-Infinity'", "1e-200", "1.100", "1e1000"}},
	{"numeric(10,2)", []string{"12.30"}},
	{"real", []string{"'-0'", "1e-45", "'NaN'", "3.4028235e38"}},
	{"double precision", []string{"'-0'", "5e-324", "'Infinity'", "0.1", "1.7976931348623157e308"}},
	{"money", []string{"'-92233720368547758.08'"}},
	{"text", []string{"''", `E'a"b\\c''d\n,(){}\t\u00e4\U0001F600'`, "'NULL'", "repeat('long ', 5000)"}},
	{"varchar(9)", []string{"'ab  '"}},
	{"char(5)", []string{"'ab'"}},
	{`"char"`, []string{"'x'"}},
	{"name", []string{"'n'"}},
	{"bytea", []string{"''", `'\x00ff5c27'`}},
	{"boolean", []string{"true"}},
	{"date", []string{"'infinity'", "'4713-01-01 BC'", "'2020-02-03'"}},
	{"time(6)", []string{"'24:00:00'", "'00:00:00.000001'"}},
	{"timetz", []string{"'23:59:59.999999+15:59'"}},
	{"timestamp", []string{"'-infinity'", "'0001-01-01 BC'", "'2020-02-03 04:05:06.789012'"}},
	{"timestamptz", []string{"'infinity'", "'2021-10-31 02:30:00+01'", "'294276-12-31 23:59:59.999999+00'"}},
	{"interval", []string{"'-1 year 2 mons -3 days 04:05:06.7'", "'1 day -1 second'"}},
	{"uuid", []string{"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"}},
	{"json", []string{"'null'", `'{"a": 1,  "a":2}'`, `'"\u0000"'`}},
	{"jsonb", []string{"'null'", `'{"a": [1.10, null, "x\"y"]}'`}},
	{"xml", []string{`XMLPARSE(DOCUMENT '<?xml version="1.0" standalone="yes"?><a>b</a>')`, "XMLPARSE(CONTENT 'x<a/>y')"}},
	{"inet", []string{"'192.168.0.1/24'", "'::1'"}},
	{"cidr", []string{"'10.0.0.0/8'"}},
	{"macaddr8", []string{"'08:00:2b:01:02:03:04:05'"}},
	{"bit(3)", []string{"B'101'"}},
	{"varbit", []string{"B''", "B'0110'"}},
	{"point", []string{"'(1e-300,-0)'"}},
	{"polygon", []string{"'((0,0),(1.1,1),(0.3,0))'"}},
	{"tsvector", []string{`'a:1A ''b c'':2'`}},
	{"tsquery", []string{"'a & !b <-> c'"}},
	{"int4range", []string{"'empty'", "'[1,5)'"}},
	{"tstzmultirange", []string{"'{[2020-01-01 00:00+00,infinity)}'"}},
	{"int[]", []string{"'{}'", "'[0:1]={1,NULL}'", "'{{1,2},{3,4}}'"}},
	{"text[]", []string{`ARRAY['NULL', NULL, '', 'a"b\c', ' x ']`}},
	{"timestamptz[]", []string{"ARRAY['2020-01-01 00:00+00'::timestamptz]"}},
	{"pair", []string{`ROW(0.1::float8, 'a,"b)')::pair`, "ROW(NULL, NULL)::pair"}},
	{"pair[]", []string{`ARRAY[ROW(1, 'x')::pair, NULL]`}},
	{"mood", []string{"'so ''so'''"}},
	{"positive", []string{"3"}},
	{"citext", []string{"'AbC'"}},
	{"hstore", []string{`'a=>NULL, "b"=>"c=>d"'`}},
	{"regclass", []string{"'app.other'"}},
	{"pg_lsn", []string{"'16/B374D848'"}},
	{"oid", []string{"4294967295"}},
}

var hostile = []string{
	"SET datestyle = 'SQL, DMY'", "SET extra_float_digits = -5", "SET timezone = 'Asia/Kolkata'", "SET intervalstyle = 'sql_standard'",
	"SET bytea_output = 'escape'", "SET xmloption = 'document'", "SET array_nulls = off", "SET search_path = app, public",
	"SET quote_all_identifiers = on", "SET client_min_messages = 'error'",
}

func wide(t *testing.T) *bench {
	b := setup(t,
		"CREATE SCHEMA app", "CREATE TABLE app.other ()", "CREATE EXTENSION citext", "CREATE EXTENSION hstore",
		"CREATE TYPE pair AS (x float8, y text)", `CREATE TYPE mood AS ENUM ('so ''so''')`, "CREATE DOMAIN positive AS int CHECK (value > 0)")
	cols := []string{"gone int", `"Key 1" numeric`, `"k""2" citext`}
	longest := 0
	for i, c := range wideTable {
		cols = append(cols, fmt.Sprintf(`"c%d" %s`, i, c.typ))
		longest = max(longest, len(c.values))
	}
	cols = append(cols, "gen numeric GENERATED ALWAYS AS (\"Key 1\" * 2) STORED", "always int GENERATED ALWAYS AS IDENTITY",
		`wide int`, `PRIMARY KEY ("Key 1", "k""2")`)
	b.run("CREATE TABLE wide (" + strings.Join(cols, ", ") + ")")
	for n := range longest + 1 {
		names, vals := []string{`"Key 1"`, `"k""2"`, "wide"}, []string{fmt.Sprintf("%d.50", n), "'Key'", "1"}
		for i, c := range wideTable {
			v := "NULL"
			if n < longest {
				v = c.values[n%len(c.values)]
			}
			names, vals = append(names, fmt.Sprintf("c%d", i)), append(vals, v)
		}
		b.run("INSERT INTO wide (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(vals, ", ") + ")")
	}
	b.run("ALTER TABLE wide DROP COLUMN gone", "ALTER TABLE wide ADD COLUMN late text DEFAULT 'added'", "CREATE TABLE keep AS SELECT * FROM wide")
	return b
}

// same demands that the table is what it was, to the bit.
func (b *bench) same() {
	b.Helper()
	b.want(`SELECT count(*), count(*) FILTER (WHERE record_image_eq(w.*, k.*)) = count(*), (SELECT count(*) FROM keep) = count(*)
 FROM wide AS w FULL JOIN keep AS k ON w."Key 1" = k."Key 1"`, b.read("SELECT count(*), true, true FROM keep"))
}

func TestEveryTypeIsRestored(t *testing.T) { onAll(t, testEveryTypeIsRestored) }

func testEveryTypeIsRestored(t *testing.T) {
	b := wide(t)
	rows := int64(len(strings.Split(b.read("SELECT 1 FROM keep"), "\n")))
	var set []string
	for i := range wideTable {
		set = append(set, fmt.Sprintf("c%d = NULL", i))
	}
	for n, settings := range [][]string{nil, hostile} {
		xid := uint64(10 * (n + 1))
		t.Run(fmt.Sprintf("hostile session %t", n == 1), func(t *testing.T) {
			b.T = t
			b.begin(xid+1, settings...).exec(rows, "UPDATE wide SET wide = 2, late = '', "+strings.Join(set, ", ")).commit()
			b.undone(xid + 1)
			b.same()
			b.begin(xid+2, settings...).exec(rows, "DELETE FROM wide").commit()
			b.undone(xid + 2)
			b.same()
			b.begin(xid+3, settings...).
				exec(1, `UPDATE wide SET c4 = 2.5 WHERE "Key 1" = 0.5`).
				exec(rows, "DELETE FROM wide AS w").
				exec(1, `INSERT INTO wide ("Key 1", "k""2", c4) VALUES (1.5, 'kEY', 3)`).commit()
			b.undone(xid + 3)
			b.same()
			b.begin(xid+4, settings...).exec(2, `INSERT INTO wide ("Key 1", "k""2", c18, c41) VALUES (77, 'x', '2020-01-01', 3), (78.0, 'x', 'infinity', 4)`).commit()
			b.undone(xid + 4)
			b.same()
		})
	}
}
