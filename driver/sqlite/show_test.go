package sqlite

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/undo"
)

// TestShowAndForceEveryType: a value prints as the literal that gives it, alike
// from the image and from the row, and an operator's write brings back exactly
// what was there.
func TestShowAndForceEveryType(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v, mark, g AS (id + 1))", `INSERT INTO a (id, v) VALUES
		(1, NULL), (2, -9223372036854775808), (3, -0.0), (4, 9e999), (5, 4.9406564584124654e-324), (6, '1'), (7, 'it''s'), (8, ''),
		(9, 'a' || char(0) || 'b'), (10, x'00ff'), (11, x''), (12, CAST(x'61ff' AS TEXT)), (13, 'żółw "q" \'), (14, 1)`)
	before := h.dump("a")
	xid := h.xid()
	h.must(xid, do{text: "UPDATE a SET mark = 1"})
	h.plain("UPDATE a SET mark = 2")
	rows, err := h.resolver.Show(t.Context(), xid)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range rows {
		if !r.Dirty || len(r.Columns) != 3 || r.Columns[2].Before != nil || *r.Columns[2].Now != "2" {
			t.Fatalf("%+v", r)
		}
		v := r.Columns[1]
		if (v.Before == nil) != (v.Now == nil) || v.Before != nil && *v.Before != *v.Now {
			t.Errorf("row %s: before %v, now %v", *r.Key[0].Value, v.Before, v.Now)
		}
		if v.Before != nil {
			got[*r.Key[0].Value] = *v.Before
		}
	}
	want := map[string]string{
		"2": "-9223372036854775808", "3": "-0.0", "4": "9.0e+999", "5": "4.9406564584124654e-324", "6": "'1'", "7": "'it''s'", "8": "''",
		"9": "CAST(x'610062' AS TEXT)", "10": "X'00FF'", "11": "X''", "12": "'a\uFFFD'", "13": `'żółw "q" \'`, "14": "1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	h.plain("UPDATE a SET v = 'gone'")
	h.plain("DELETE FROM a WHERE id % 2")
	done, err := h.resolver.Operate(t.Context(), undo.Operation{XID: xid, Action: undo.ForceBefore, Who: "ops", Reason: "test", AssumeAborted: true})
	if err != nil || done.Left != nil || len(done.Rows) != 14 {
		t.Fatalf("%+v, %v", done, err)
	}
	if after := h.dump("a"); after != before {
		t.Errorf("\n got %s\nwant %s", after, before)
	}
}
