package mysql

import (
	"fmt"
	"strings"
	"testing"
)

// typed is one column type with values, as SQL; %s stands in a session with
// sql_mode 'ALLOW_INVALID_DATES'.
type typed struct {
	typ    string
	values []string
}

func commonTypes() []typed {
	return []typed{
		{"TINYINT", []string{"-128", "127"}},
		{"SMALLINT UNSIGNED", []string{"0", "65535"}},
		{"MEDIUMINT", []string{"-8388608", "8388607"}},
		{"INT ZEROFILL", []string{"7", "4294967295"}},
		{"BIGINT", []string{"-9223372036854775808", "9223372036854775807"}},
		{"BIGINT UNSIGNED", []string{"18446744073709551615", "0"}},
		{"BOOL", []string{"TRUE", "FALSE"}},
		{"DECIMAL(65,30)", []string{"12345678901234567890123456789012345.123456789012345678901234567891", "-0.000000000000000000000000000001"}},
		{"DECIMAL(5,2) UNSIGNED", []string{"999.99", "0"}},
		{"FLOAT", []string{"1.1754944e-38", "3.4028234e38", "0.1", "-0e0", "16777217"}},
		{"FLOAT(7,3)", []string{"1234.567", "-0.001"}},
		{"DOUBLE", []string{"2.2250738585072014e-308", "1.7976931348623157e308", "0.1", "-0e0", "9007199254740993"}},
		{"BIT(1)", []string{"b'1'", "b'0'"}},
		{"BIT(64)", []string{"0xFFFFFFFFFFFFFFFF", "b'101'"}},
		{"DATE", []string{"'9999-12-31'", "'0000-00-00'", "'2020-02-31'", "'2020-00-00'"}},
		{"DATETIME", []string{"'1000-01-01 00:00:00'", "'0000-00-00 00:00:00'"}},
		{"DATETIME(6)", []string{"'9999-12-31 23:59:59.999999'", "'2020-02-31 01:02:03.000001'"}},
		{"TIMESTAMP NULL", []string{"FROM_UNIXTIME(1)", "FROM_UNIXTIME(2147483647)", "0", "FROM_UNIXTIME(1603587600)", "FROM_UNIXTIME(1603591200)"}},
		{"TIMESTAMP(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6)", []string{"FROM_UNIXTIME(1600000000.123456)"}},
		{"TIME", []string{"'-838:59:59'", "'838:59:59'"}},
		{"TIME(3)", []string{"'00:00:00.001'", "'-00:00:00.5'"}},
		{"YEAR", []string{"1901", "2155", "0"}},
		{"CHAR(10)", []string{"'a  '", "'null'", "''"}},
		{"VARCHAR(20) CHARACTER SET utf8mb4", []string{"'🙂 \\'\\\\\"'", "'null'", "'  x  '", "''"}},
		{"VARCHAR(20) CHARACTER SET latin1", []string{"'é€'", "''"}},
		{"VARCHAR(20) CHARACTER SET utf16", []string{"'日本'", "''"}},
		{"VARCHAR(20) CHARACTER SET gbk", []string{"'中文'"}},
		{"VARCHAR(20) CHARACTER SET cp932", []string{"_cp932 0x8740", "_cp932 0xFA5B", "_cp932 0x81E6"}},
		{"TEXT", []string{"REPEAT('ab', 30000)", "'null'"}},
		{"LONGTEXT", []string{"REPEAT('xyz', 100000)"}},
		{"BINARY(4)", []string{"0x00", "0x61626364"}},
		{"VARBINARY(20)", []string{"0x00FF00", "''", "0x6E756C6C"}},
		{"BLOB", []string{"0x0001FF", "REPEAT(0x00, 1000)"}},
		{"ENUM('','a','b')", []string{"''", "'b'", "1"}},
		{"SET('x','y','z')", []string{"''", "'x,z'", "7"}},
		{"GEOMETRY", []string{"ST_GeomFromText('POINT(1 2)', 4326)", "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(0 0),LINESTRING(1 1,2 2))')"}},
		{"JSON", []string{`'{"a": [1, 2.50, null, "null", "é"]}'`, `'null'`, `'""'`, `'1e3'`}},
	}
}

func typesOf(mysql bool) []typed {
	if mysql {
		return append(commonTypes(),
			typed{"JSON", []string{"JSON_OBJECT('d', CAST('2020-01-02' AS DATE), 't', CAST('10:11:12.000001' AS TIME(6)), 'n', CAST(1.10 AS DECIMAL(5,2)), 'b', CAST('x' AS BINARY))"}},
			typed{"VECTOR(3)", []string{"TO_VECTOR('[1,-0,3.5]')"}},
		)
	}
	return append(commonTypes(),
		typed{"UUID", []string{"'123e4567-e89b-12d3-a456-426655440000'"}},
		typed{"INET6", []string{"'::1'", "'::ffff:1.2.3.4'"}},
		typed{"INET4", []string{"'255.0.0.1'"}},
	)
}

// TestTypesRestoreExactly captures under another time zone than the restore.
func TestTypesRestoreExactly(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		types := typesOf(!strings.Contains(d.one("SELECT @@version"), "MariaDB"))
		var cols []string
		for i, c := range types {
			cols = append(cols, fmt.Sprintf("c%d %s", i, strings.Replace(c.typ, " NULL", " NULL", 1)))
		}
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, " + strings.Join(cols, ", ") +
			", g INT AS (id + 1) STORED, h INT AS (id + 2) VIRTUAL) ROW_FORMAT=DYNAMIC")
		filler := d.branch(newXID(), "SET sql_mode='ALLOW_INVALID_DATES'", "SET time_zone='+00:00'")
		rows := 0
		for i, c := range types {
			for _, v := range c.values {
				rows++
				filler.plain(fmt.Sprintf("INSERT INTO a (id, c%d) VALUES (%d, %s)", i, rows, v))
			}
		}
		// The error value of ENUM, 0.
		for i, c := range types {
			if strings.HasPrefix(c.typ, "ENUM") {
				rows++
				filler.plain(fmt.Sprintf("INSERT INTO a (id, c%d) VALUES (%d, 'none')", i, rows))
			}
		}
		want := d.checksum("a")

		session := "SET time_zone='-03:30', sql_mode='STRICT_ALL_TABLES', div_precision_increment=0"
		b := d.branch(newXID(), session)
		b.must(int64(rows), "DELETE FROM a")
		b.commit()
		d.mustAbort(b.xid)
		if got := d.checksum("a"); got != want {
			t.Errorf("delete: checksum %s, want %s", got, want)
		}

		for i := range types {
			b := d.branch(newXID(), session)
			out, err := b.run(fmt.Sprintf("UPDATE a SET c%d = NULL", i))
			if err != nil {
				t.Errorf("%s: %v", types[i].typ, err)
				b.rollback()
				continue
			}
			if out.RowsAffected < 1 {
				t.Errorf("%s: nothing was changed", types[i].typ)
			}
			b.commit()
			d.mustAbort(b.xid)
			if got := d.checksum("a"); got != want {
				t.Errorf("%s: checksum %s, want %s", types[i].typ, got, want)
			}
		}
	})
}

func TestKeyTypes(t *testing.T) {
	keys := []struct {
		typ     string
		literal []string // two different keys, and how a program may write them
		args    []any
	}{
		{"INT", []string{"-1", "'2'"}, []any{3, "4"}},
		{"BIGINT UNSIGNED", []string{"18446744073709551615", "'18446744073709551614'"}, []any{uint64(18446744073709551613), "9007199254740993"}},
		{"DECIMAL(20,4)", []string{"1.5", "'-2.25'"}, []any{"3.0001", 4}},
		{"CHAR(5) CHARACTER SET latin1", []string{"'é '", "12"}, []any{"ü", 13}},
		{"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", []string{"'Abc'", "'d '"}, []any{"🙂", []byte("x")}},
		{"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", []string{"'Abc'", "'abc'"}, []any{"ABC", "?'\\"}},
		{"CHAR(20) CHARACTER SET utf16", []string{"'日本'", "'x'"}, []any{"y", "é"}},
		{"BINARY(4)", []string{"'a'", "'b'"}, []any{[]byte{0, 1}, "c"}},
		{"VARBINARY(9)", []string{"'a'", "'a '"}, []any{[]byte{0, 255}, "é"}},
		{"DATE", []string{"'2020-02-29'", "'1000-01-01'"}, []any{"9999-12-31", "2021-01-01"}},
		{"DATETIME(3)", []string{"'2020-02-29 01:02:03.004'", "'1000-01-01'"}, []any{"9999-12-31 00:00:00.999", "2021-01-01"}},
		{"TIME(6)", []string{"'-01:02:03.000004'", "'800:00:00'"}, []any{"00:00:01", "10:00:00.5"}},
		{"YEAR", []string{"1999", "'2020'"}, []any{2000, "2155"}},
	}
	onEach(t, func(t *testing.T, d *database) {
		mysql := !strings.Contains(d.one("SELECT @@version"), "MariaDB")
		for i, k := range keys {
			keyTypeRoundTrip(d, fmt.Sprintf("k%d", i), k.typ, k.literal, k.args)
		}
		if mysql {
			keyTypeRoundTrip(d, "ai", "CHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", []string{"'a '", "'B'"}, []any{"ß", "é "})
			keyTypeRoundTrip(d, "av", "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", []string{"'a '", "'a'"}, []any{"ß", "é "})
		} else {
			keyTypeRoundTrip(d, "uu", "UUID", []string{"'123e4567-e89b-12d3-a456-426655440000'", "'123e4567-e89b-12d3-a456-426655440001'"},
				[]any{"123e4567-e89b-12d3-a456-426655440002", "123e4567-e89b-12d3-a456-426655440003"})
			keyTypeRoundTrip(d, "np", "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", []string{"'a '", "'a'"}, []any{"ß", "é "})
		}
	})
}

func keyTypeRoundTrip(d *database, name, typ string, literal []string, args []any) {
	d.Helper()
	d.exec("CREATE TABLE " + name + " (k " + typ + " PRIMARY KEY, v INT)")
	d.exec("INSERT INTO "+name+" VALUES ("+literal[0]+", 1),(?, 2)", args[0])
	want := d.checksum(name)
	step := func(rows int64, text string, a ...any) *branch {
		b := d.branch(newXID())
		out, err := b.run(text, a...)
		if err != nil {
			d.Errorf("%s: %s: %v", typ, text, err)
			b.rollback()
			return b
		}
		if out.RowsAffected != rows {
			d.Errorf("%s: %s: %d rows, want %d", typ, text, out.RowsAffected, rows)
		}
		b.commit()
		return b
	}
	undo := func(b *branch) {
		d.Helper()
		if err := d.abort(b.xid); err != nil {
			d.Errorf("%s: abort: %v", typ, err)
		}
		if got := d.checksum(name); got != want {
			d.Errorf("%s: checksum %s, want %s", typ, got, want)
		}
	}
	b := step(2, "INSERT INTO "+name+" (v, k) VALUES (3, "+literal[1]+"), (4, ?)", args[1])
	again := d.branch(newXID())
	if _, err := again.run("DELETE FROM " + name + " WHERE v = 3"); err == nil {
		d.Errorf("%s: a row of another xid was not protected", typ)
	}
	again.rollback()
	undo(b)
	undo(step(2, "UPDATE "+name+" SET v = v + 10"))
	undo(step(2, "DELETE FROM "+name))
}

// Two spellings that a primary key calls equal are one lock.
func TestKeySpellings(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, n INT, PRIMARY KEY (n, k))")
		d.exec("INSERT INTO a VALUES ('Abc', 1)")
		want := d.checksum("a")
		b := d.branch(newXID())
		b.must(1, "DELETE FROM a WHERE k = 'ABC'")
		b.must(1, "INSERT INTO a VALUES ('aBC ', 1)")
		b.commit()
		if got := d.one("SELECT COUNT(*) FROM gtx_undo"); got != "1" {
			t.Errorf("%s undo rows, want 1", got)
		}
		d.mustAbort(b.xid)
		if got := d.checksum("a"); got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}
	})
}

func TestCompositeKey(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (tenant VARCHAR(9), id INT AUTO_INCREMENT, v INT, PRIMARY KEY (tenant, id), KEY (id))")
		d.exec("INSERT INTO a VALUES ('a', 1, 1), ('b', 1, 2)")
		want := d.checksum("a")
		b := d.branch(newXID())
		b.must(3, "INSERT INTO a (tenant, v) VALUES (?, 5), ('b', 6), ('a', 7)", "a")
		b.must(2, "INSERT INTO a VALUES ('c', 1, 5), (?, ?, 6)", "c", 2)
		b.must(4, "UPDATE a SET v = 0 WHERE tenant <= 'b' AND v <> 2")
		b.must(7, "DELETE FROM a")
		b.must(1, "INSERT INTO a VALUES ('b', 1, 3)")
		b.commit()
		d.mustAbort(b.xid)
		if got := d.checksum("a"); got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}
	})
}
