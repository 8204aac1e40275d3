package mysql

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// hugeValue is the width of a value without a declared bound: what the largest
// max_allowed_packet lets through.
const hugeValue = 1 << 30

// Relations lists the tables and views of the current database. The widths come
// from the declared types.
func (d Dialect) Relations(ctx context.Context, q undo.Query) ([]undo.Relation, error) {
	widest, err := widths(ctx, q)
	if err != nil {
		return nil, err
	}
	rows, err := q(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, TABLE_ROWS, AVG_ROW_LENGTH
	FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	own := map[string]bool{}
	for _, t := range undo.OwnTables(d) {
		own[t.Name] = true
	}
	var out []undo.Relation
	for _, r := range rows {
		if own[r[1]] {
			continue
		}
		rel := undo.Relation{
			ID: ident(r[0]) + "." + ident(r[1]), Name: undo.ShowName(r[1]), Kind: "table", Rows: true,
			Count: estimate(r[3]), Width: estimate(r[4]), Widest: undo.Unknown,
		}
		switch {
		case strings.Contains(r[2], "VIEW"), r[2] == "SEQUENCE":
			rel.Kind, rel.Rows = strings.ToLower(r[2]), false
		case rel.Width == 0:
			rel.Width = undo.Unknown // an empty table
		}
		if w, ok := widest[r[1]]; ok && rel.Rows {
			rel.Widest = w
		}
		out = append(out, rel)
	}
	return out, nil
}

// estimate reads an estimate that may be NULL.
func estimate(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return undo.Unknown
	}
	return n
}

// widths gives the bytes that the declared types allow a row of each table.
func widths(ctx context.Context, q undo.Query) (map[string]int64, error) {
	rows, err := q(ctx, `SELECT TABLE_NAME, COLUMN_TYPE, CHARACTER_OCTET_LENGTH FROM information_schema.COLUMNS
	WHERE TABLE_SCHEMA = DATABASE() AND (GENERATION_EXPRESSION IS NULL OR GENERATION_EXPRESSION = '')`)
	if err != nil {
		return nil, fmt.Errorf("read widths of columns: %w", err)
	}
	const plain = 8 // a number or a date, about
	widest := map[string]int64{}
	for _, r := range rows {
		w := int64(plain)
		switch c := (undo.Column{Type: r[1]}); kindOf(&c) {
		case kBytes, kJSON:
			if w = estimate(r[2]); w == undo.Unknown {
				w = hugeValue
			}
		}
		widest[r[0]] += w
	}
	return widest, nil
}

// Examine asks the server, which answers without running it, whether it would run
// each of the statements that write.
func (d Dialect) Examine(ctx context.Context, q undo.Query, t *undo.Table, r undo.Relation) ([]undo.Finding, error) {
	var all, writable []string
	for _, c := range t.Columns {
		all = append(all, c.Name)
		if !c.Generated {
			writable = append(writable, c.Name)
		}
	}
	var failed error
	may := func(privilege string, columns []string) bool {
		if failed != nil {
			return false
		}
		ok, err := d.may(ctx, q, dryRun(privilege, t.Name, columns))
		if err != nil {
			failed = fmt.Errorf("ask for privilege %s on %s: %w", privilege, t.Name, err)
		}
		return ok
	}
	some := func(privilege string) bool {
		for _, c := range writable {
			if may(privilege, []string{c}) {
				return true
			}
		}
		return false
	}
	a := undo.Access{Select: may("SELECT", all), Delete: may("DELETE", nil)}
	a.InsertAll = may("INSERT", writable)
	a.InsertSome = a.InsertAll || some("INSERT")
	a.UpdateAll = may("UPDATE", writable)
	a.UpdateSome = a.UpdateAll || some("UPDATE")
	if failed != nil {
		return nil, failed
	}
	wide, err := fits(ctx, q, r)
	if err != nil {
		return nil, err
	}
	return append(a.Judge(), wide...), nil
}

// fits compares the widest row, which an image writes in hexadecimal digits, with
// the largest value that the server makes.
func fits(ctx context.Context, q undo.Query, r undo.Relation) ([]undo.Finding, error) {
	if r.Widest == undo.Unknown {
		return nil, nil
	}
	rows, err := q(ctx, "SELECT @@max_allowed_packet")
	if err != nil {
		return nil, fmt.Errorf("read max_allowed_packet: %w", err)
	}
	limit := estimate(rows[0][0])
	if 2*r.Widest <= limit {
		return nil, nil
	}
	return []undo.Finding{{
		Name: "row-size", Level: undo.Warn,
		Reason: fmt.Sprintf("its types allow rows of %d bytes; one of more than about %d (half of max_allowed_packet) cannot be captured, and its statement fails", r.Widest, limit/2),
		Hint:   "raise max_allowed_packet if there are such rows",
	}}, nil
}
