package inject

const (
	threePhaseGo = "gtx/coordinator/threephase.go"
	xaResolverGo = "xa/resolver.go"
	xaScanGo     = "xa/scan.go"
	appXAGo      = "internal/sim/appxa.go"    // has the driver's order of steps
	preparedGo   = "internal/sim/prepared.go" // has the database's
)

// preparedBugs are mistakes about branches that are prepared.
var preparedBugs = []Bug{
	one("a name that the server does not know has ended", "X3", xaResolverGo,
		"case err == nil:\n\t\t\tr.count(commit)", "case err == nil || r.store.Again(err):\n\t\t\tr.count(commit)"),
	one("a branch that its session still has is ended by its name", "X4", "xa/loose.go",
		"if len(ids) > 0 {", "if len(ids) > 1000 {"),
	one("the branch is prepared without the ok", "X1", appXAGo,
		"if err := reg.result(w); err != nil { // rule X1", "if err := reg.result(w); err != nil && t.xid.IsZero() {"),
	one("phase two looks at the list of another database", "X3", preparedGo,
		"for _, b := range s.d.prepared {\n\t\tnames = append", "for _, b := range s.d.w.dbs[0].prepared {\n\t\tnames = append"),
	one("a PREPARE that is not listed is dead", "T5", appXAGo,
		"case err == nil && listed:", "case err == nil && !listed:\n\t\t\ttx.Dead(n.Ref())\n\t\t\treturn errLost\n\t\tcase err == nil:"),
	one("a branch that is prepared does not look for an undo row", "W6", appXAGo,
		"held && u.owner != t.xid {", "held && u.owner != t.xid && wr.n < 0 {"),
	one("a scan takes pending for aborted, prepared branches", "P1", xaScanGo,
		"case st != gtx.Committed && st != gtx.Aborted:\n\t\treturn false, nil",
		"case st != gtx.Committed && st != gtx.Aborted:\n\t\tst = gtx.Aborted"),
	one("a scan takes expired for committed, prepared branches", "G4", xaScanGo,
		"st = gtx.Aborted // rule G4", "st = gtx.Committed"),
	one("what is listed is ended the other way", "X3", xaResolverGo,
		"err := r.store.End(ctx, n, commit)\n", "err := r.store.End(ctx, n, true)\n"),
}

// threePhaseBugs are mistakes of three-phase commit in the coordinator.
var threePhaseBugs = []Bug{
	one("what nobody has claimed yet is aborted", "H3", machineGo,
		"if t == nil && st == gtx.Pending && err == nil {\n\t\tm.close(now)", "if t == nil && st == gtx.Pending && err == nil {\n\t\treturn nil, gtx.Aborted, nil"),
	one("aborted is told before Close is in the log", "H5", machineGo,
		"!mine && m.claimable(k) {", "!mine && m.claimable(k) && !m.closing {"),
	one("a claim is accepted while Close is on its way", "H5", threePhaseGo,
		"case st == gtx.Pending && !m.closing && m", "case st == gtx.Pending && m"),
	one("a claim is accepted behind Close", "H4", threePhaseGo,
		"case st == gtx.Pending && !m.closing && m", "case st != gtx.Committed && m"),
	one("a claim of what is finished is accepted", "H4", threePhaseGo,
		" && m.tombs.horizon.less(k):\n", ":\n"),
	one("the participant that claims is the only one", "H4", threePhaseGo,
		"if reply.Err = m.adoptClaim(k, participants, e.Call)", "if reply.Err = m.adoptClaim(k, participants[:1], e.Call)"),
	one("Ready counts as the end of phase two", "H2", machineGo,
		"m.emit(Reply{Call: e.Call, Err: m.ready(now, e)})", "m.emit(Reply{Call: e.Call, Err: m.ready(now, e)})\n\t\t_ = m.ack(now, Ack(e))"),
	one("participants are told that all have prepared before it is looked at", "H2", requestsGo,
		"participants, ok := m.participants(t.branches, e.Confirmed, e.Dead)\n",
		"participants, ok := m.participants(t.branches, e.Confirmed, e.Dead)\n\t\tif t.threePhase() {\n\t\t\tvar all []gtx.ResourceID\n\t\t\tfor _, ref := range e.Confirmed {\n\t\t\t\tall = append(all, ref.Resource)\n\t\t\t}\n"+
			"\t\t\tfor _, r := range all {\n\t\t\t\tm.emit(Push{Resource: r, Resolution: gtx.Resolution{XID: e.XID, Status: gtx.PreCommitted, Participants: all}})\n\t\t\t}\n\t\t}\n"),
	one("nobody is told that all have prepared", "H2", requestsGo,
		"if t.threePhase() && len(participants) > 0 {", "if t.threePhase() && len(participants) > 1000 {"),
	one("Rollback aborts what is pre-committed", "H2", requestsGo,
		"case t.state == stateActive:\n\t\t\tm.abort(t)", "case t.state == statePreCommitting:\n\t\t\tm.rounds.remove(t)\n\t\t\tm.pending--\n\t\t\tm.active++\n\t\t\tm.abort(t)\n\t\t\treply.Status = gtx.Aborted\n\t\tcase t.state == stateActive:\n\t\t\tm.abort(t)"),
	one("a trim loses the Close", "H5", trimGo,
		"if f.closed == 0 && m.closed > 0 && m.closedAt <= m.trim.upTo {", "if f.closed == 0 && m.closed > 1000 {"),
	one("a reader forgets the Close", "H5", threePhaseGo,
		"m.closed, m.closedAt = epoch, seq\n\t}", "m.closed, m.closedAt = 0, seq\n\t}"),
}
