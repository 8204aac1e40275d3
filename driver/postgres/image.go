package postgres

import (
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// keyHash is gtx_undo.keyh of the row ref: 128 bits that follow the equality of
// the key's types (1.0 = 1.00, citext 'a' = 'A'), as two decimal numbers.
func keyHash(t *undo.Table, ref string) string {
	var cols []string
	for _, k := range t.Key {
		cols = append(cols, ref+"."+ident(t.Columns[k].Name))
	}
	row := "ROW(" + strings.Join(cols, ", ") + ")"
	return "pg_catalog.concat(pg_catalog.hash_record_extended(" + row + ", 0), ':', pg_catalog.hash_record_extended(" + row + ", " + seed2 + "))"
}

// digest is gtx_undo.before_sum and after_img of a row. Always hand it "ref.*": a
// bare "ref" would be the column of that name where there is one.
func digest(row string) string {
	return "pg_catalog.encode(pg_catalog.sha256(pg_catalog.record_send(" + row + ")), 'hex')"
}

// rowImage is gtx_undo.before_img: the row ref as text.
func rowImage(t *undo.Table, ref string) string {
	cols := make([]string, len(t.Columns))
	xml := false
	for i, c := range t.Columns {
		cols[i] = ref + "." + ident(c.Name)
		if hasAttr(c, attrXML) {
			xml = true
			cols[i] += "::pg_catalog.text"
		}
	}
	if !xml {
		return funcImage + "(" + ref + ".*)"
	}
	return funcImage + "(ROW(" + strings.Join(cols, ", ") + "))"
}

// keyImage is gtx_undo.before_img of an inserted row, which is needed only to
// find the row again: NULL stands for all but the key, unless a domain could
// refuse it.
func keyImage(t *undo.Table, ref string) string {
	cols := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		if hasAttr(c, attrDomain) {
			return rowImage(t, ref)
		}
		cols[i] = "NULL"
	}
	for _, k := range t.Key {
		cols[k] = ref + "." + ident(t.Columns[k].Name)
	}
	return funcImage + "(ROW(" + strings.Join(cols, ", ") + "))"
}
