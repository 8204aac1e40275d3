package integration

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/coltype"
	"github.com/globaltx/globaltx/internal/testserver"
)

// identical asks the server, or for SQLite compares storage classes and bytes.
func (b *typeBench) identical(ctx context.Context, one, two string) (bool, error) {
	switch baseOf(b.s) {
	case "mysql":
		rows, err := b.plain.QueryContext(ctx, "CHECKSUM TABLE "+one+", "+two)
		if err != nil {
			return false, err
		}
		defer rows.Close()
		var sums []sql.NullString
		for rows.Next() {
			var table string
			var sum sql.NullString
			if err := rows.Scan(&table, &sum); err != nil {
				return false, err
			}
			sums = append(sums, sum)
		}
		return len(sums) == 2 && sums[0] == sums[1] && sums[0].Valid, rows.Err()
	case "postgres":
		var same bool
		err := b.plain.QueryRowContext(ctx, fmt.Sprintf("SELECT (SELECT count(*) FROM %[1]s) = (SELECT count(*) FROM %[2]s)"+
			" AND NOT EXISTS (SELECT FROM %[1]s AS _l WHERE NOT EXISTS (SELECT FROM %[2]s AS _r WHERE record_image_eq(_l, _r)))", one, two)).Scan(&same)
		return same, err
	}
	l, err := exactly(ctx, b.plain, one)
	if err != nil {
		return false, err
	}
	r, err := exactly(ctx, b.plain, two)
	return slices.Equal(l, r), err
}

// exactly gives the rows of a table of SQLite, sorted, with nothing lost: the
// storage class and the bytes of each value, the bits of reals.
func exactly(ctx context.Context, db *sql.DB, table string) ([]string, error) {
	names, err := columnNames(ctx, db, table)
	if err != nil {
		return nil, err
	}
	var exprs []string
	for _, n := range names {
		exprs = append(exprs, fmt.Sprintf("typeof(%[1]s), quote(%[1]s), hex(CAST(%[1]s AS BLOB)), CASE typeof(%[1]s) WHEN 'real' THEN %[1]s + 0 * 1 END", n))
	}
	rows, err := db.QueryContext(ctx, "SELECT "+strings.Join(exprs, ", ")+" FROM "+table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		values := make([]any, 4*len(names))
		into := make([]any, len(values))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, v := range values {
			if f, ok := v.(float64); ok {
				values[i] = math.Float64bits(f)
			}
		}
		out = append(out, fmt.Sprint(values))
	}
	slices.Sort(out)
	return out, rows.Err()
}

func columnNames(ctx context.Context, db *sql.DB, table string) ([]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT * FROM "+table+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	return names, rows.Err()
}

// dump gives the rows of a table for people.
func (b *typeBench) dump(t *testing.T, table string) string {
	t.Helper()
	ctx := t.Context()
	if b.s.name == "sqlite" {
		rows, err := exactly(ctx, b.plain, table)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(rows, "\n")
	}
	names, err := columnNames(ctx, b.plain, table)
	if err != nil {
		t.Fatal(err)
	}
	one := "concat_ws(' | '"
	for _, n := range names {
		if baseOf(b.s) == "mysql" {
			one += ", COALESCE(LEFT(HEX(" + n + "), 200), 'NULL')"
		} else {
			one += ", coalesce(left(" + n + "::text, 200), 'NULL')"
		}
	}
	rows, err := b.plain.QueryContext(ctx, "SELECT "+one+") AS line FROM "+table+" ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line.String)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// makeZones makes the time zones of coltype, since a server may have none at all.
func makeZones(t *testing.T, server string) {
	t.Helper()
	admin, err := sql.Open("mysql", testserver.Admin(t, server))
	if err != nil {
		t.Fatal(err)
	}
	drop := func() {
		var ids sql.NullString // the server takes no subquery beside a table of its own
		if err := admin.QueryRow("SELECT GROUP_CONCAT(Time_zone_id) FROM mysql.time_zone_name WHERE Name IN (?, ?)", coltype.ZoneFold, coltype.ZoneEdge).Scan(&ids); err != nil {
			t.Fatal(err)
		}
		if !ids.Valid {
			return
		}
		for _, table := range []string{"time_zone_name", "time_zone_transition", "time_zone_transition_type", "time_zone"} {
			mustExec(t, admin, "DELETE FROM mysql."+table+" WHERE Time_zone_id IN ("+ids.String+")")
		}
	}
	drop()
	t.Cleanup(func() {
		drop()
		if err := admin.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	for _, z := range []struct {
		name                 string
		summer, winter       int // seconds east
		fromSummer, toSummer int
	}{
		{coltype.ZoneFold, 7200, 3600, 1603587600, 1585443600},
		{coltype.ZoneEdge, -14400, -18000, 1604210400, 1583650800},
	} {
		res, err := admin.ExecContext(t.Context(), "INSERT INTO mysql.time_zone (Use_leap_seconds) VALUES ('N')")
		if err != nil {
			t.Fatal(err)
		}
		id, err := res.LastInsertId()
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, admin, "INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES (?, ?)", z.name, id)
		mustExec(t, admin, "INSERT INTO mysql.time_zone_transition_type (Time_zone_id, Transition_type_id, `Offset`, Is_DST, Abbreviation)"+
			" VALUES (?, 0, ?, 0, 'WT'), (?, 1, ?, 1, 'ST')", id, z.winter, id, z.summer)
		mustExec(t, admin, "INSERT INTO mysql.time_zone_transition (Time_zone_id, Transition_time, Transition_type_id) VALUES (?, ?, 1), (?, ?, 0)",
			id, z.toSummer, id, z.fromSummer)
	}
}
