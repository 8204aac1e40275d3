package inject

const (
	abortGo = "undo/abort.go"
	pageGo  = "undo/page.go"
	appGo   = "internal/sim/app.go" // has the driver's order of steps
)

const guardStep = "branches, visible, err := guard(ctx, tx, xid, pushed)\n\t\tif err != nil {\n\t\t\treturn err\n\t\t}\n\t\tfound = visible > 0\n"

// branchBugs are mistakes in phase two, and in the order of a branch.
var branchBugs = []Bug{
	{"the guards come last", "P3", []Edit{
		{abortGo, guardStep + "\t\tfor full", "for full"},
		{abortGo, "\t\treturn endAbort(ctx, tx, branches, also)\n\t})\n\tif err == nil {", "\t\t" + guardStep + "\t\treturn endAbort(ctx, tx, branches, also)\n\t})\n\tif err == nil {"},
	}},
	one("pushed branches are not guarded", "P3", abortGo,
		"branches := slices.Clone(pushed)", "branches := slices.Clone(pushed[:0])"),
	one("restored rows keep their undo rows", "P3", abortGo,
		"if err := tx.DeleteUndo(ctx, done); err != nil {", "if err := tx.DeleteUndo(ctx, done[:0]); err != nil {"),
	one("undo rows go, the data stays", "P3", abortGo,
		"done, err := tx.Restore(ctx, rows)", "done, err := rows, error(nil)"),
	one("the acknowledgement goes first", "P2", "gtx/deliver.go",
		"if err := res.Resolve(ctx, d); err != nil {", "_ = c.Acknowledge(ctx, d.XID, r)\n\tif err := res.Resolve(ctx, d); err != nil {"),
	one("a scan takes expired for committed", "G4", pageGo,
		"status = gtx.Aborted", "status = gtx.Committed"),
	one("a scan takes pending for aborted", "P1", pageGo,
		"case status != gtx.Committed && status != gtx.Aborted:\n\t\treturn false, nil",
		"case status != gtx.Committed && status != gtx.Aborted:\n\t\tstatus = gtx.Aborted"),
	one("a branch that cannot be settled is dead", "T5", "undo/resolver.go",
		"if err != nil {\n\t\treturn false, fmt.Errorf(\"settle branch", "if err != nil && xid.IsZero() {\n\t\treturn false, fmt.Errorf(\"settle branch"),

	{"the branch registers before its header is there", "T3", []Edit{
		{appGo, "\treg = a.c.startRegister(t.xid, ref) // rule T3\n", ""},
		{appGo, "\tif _, err := t.insertHeader(", "\treg = a.c.startRegister(t.xid, ref)\n\tif _, err := t.insertHeader("},
	}},
	one("the branch commits without the ok", "T2", appGo,
		"if err := reg.result(w); err != nil { // rule T2", "if err := reg.result(w); err != nil && t.xid.IsZero() {"),
	one("the before image is read before the lock", "T1", appGo,
		"if err := t.lock(lockKey{kind: 'r', n: n}); err != nil {\n\t\treturn err\n\t}\n\tbefore := t.value(n)\n",
		"before := t.value(n)\n\tif err := t.lock(lockKey{kind: 'r', n: n}); err != nil {\n\t\treturn err\n\t}\n"),
	one("a plain writer does not look for an undo row", "W6", appGo,
		"if u, held := t.undoOf(n); held {\n\t\tt.rollback() // rule W2", "if u, held := t.undoOf(n); held && n < 0 {\n\t\tt.rollback() // rule W2"),
}
