package inject

// decisionBugs are mistakes in the decision of one transaction, at the coordinator
// and at the TM.
var decisionBugs = []Bug{
	one("the deadline aborts what is being committed", "B3", requestsGo,
		"m.deadlines.remove(t) // the deadline no longer touches it (rule B3)\n", ""),
	one("Rollback aborts what is being committed", "B3", requestsGo,
		"case t.state == stateActive:\n\t\t\tm.abort(t)", "case t.state <= stateCommitting:\n\t\t\tm.abort(t)"),
	one("Register makes a transaction known again", "L7", requestsGo,
		"return fmt.Errorf(\"register a branch of %s: %w\", x, gtx.ErrAborted)",
		"t = &tx{key: key{x.Epoch, x.Seq}}\n\t\tm.txs[t.key] = t\n\t\tm.active++\n\t\tm.deadlines.set(t, now+instant(time.Minute))"),
	one("branches that nobody accounts for do not matter", "C1", requestsGo,
		"\t\tdefault:\n\t\t\treturn nil, false\n\t\t}", "\t\tdefault:\n\t\t}"),
	one("branches may register after the decision", "B2", requestsGo,
		"case t == nil || t.state != stateActive:\n\t\treturn fmt.Errorf(\"register a branch of %s: %w\", x, gtx.ErrEnded)",
		"case t == nil || t.state != stateActive:\n\t\treturn nil"),
	one("no answer to Commit means aborted", "C4", "gtx/run.go",
		"return &UnknownError{XID: tx.xid, Err: err}\n\tcase out == Committed:",
		"return fmt.Errorf(\"commit: %w\", ErrAborted)\n\tcase out == Committed:"),
	one("a call without an answer hears of an abort", "C4", "gtx/coordinator/call.go",
		"return c.end(Reply{}, end)", "return c.end(Reply{Status: gtx.Aborted}, nil)"),
	{"an unsettled branch is reported as dead", "T5", []Edit{
		{"gtx/tx.go", "case branchDead:\n\t\t\tdead = append", "default:\n\t\t\tdead = append"},
		{"gtx/run.go", "if n := tx.open(); n > 0 {", "if n := tx.open(); n > 1000 {"},
	}},
}
