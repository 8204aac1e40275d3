package inject

// Files of the coordinator.
const (
	machineGo  = "gtx/coordinator/machine.go"
	logGo      = "gtx/coordinator/log.go"
	loadGo     = "gtx/coordinator/load.go"
	trimGo     = "gtx/coordinator/trim.go"
	handoverGo = "gtx/coordinator/handover.go"
	requestsGo = "gtx/coordinator/requests.go"
)

// failed makes the outstanding append a failed one: its transactions are told to
// be aborted.
const failed = `for _, t := range f.queued {
			delete(m.txs, t.key)
			m.pending--
			m.answer(t, Reply{Status: gtx.Aborted})
		}
		m.flight = nil`

// logBugs are mistakes in leadership, appends and hand-over.
var logBugs = []Bug{
	one("a leader answers for later epochs", "L6", machineGo,
		"if x.Epoch > m.epoch {", "if x.Epoch > m.epoch+1000 {"),
	one("a candidate answers", "L1", machineGo,
		"if m.role != leader {\n\t\treturn nil, gtx.Pending, ErrNotLeader // rules L1, L6",
		"if m.role != leader && m.role != candidate {\n\t\treturn nil, gtx.Pending, ErrNotLeader // rules L1, L6"),
	one("an append without an answer has failed", "L4", machineGo,
		"case Unclear:\n\t\tif m.flight != nil {",
		"case Unclear:\n\t\tif f := m.flight; f != nil && m.role == leader {\n\t\t"+failed+"\n\t\t} else if m.flight != nil {"),
	one("a hole in place of an append means that it has failed", "L4", logGo,
		"m.stepDown(fmt.Errorf(\"settle append at %d: %w\", at, ErrGap)) // rule L4\n\t\treturn",
		failed+"\n\t\tm.stepDown(ErrGap)\n\t\treturn"),
	one("the answer comes before the append", "C2", requestsGo,
		"t.state = stateCommitting\n\tm.queue = append(m.queue, t)", "t.state = stateCommitting\n\tm.queue = append(m.queue, t)\n\tm.answer(t, Reply{Status: gtx.Committed})"),
	one("the writer believes an append at any place", "L3", logGo,
		"if seq != f.prev+1 {", "if seq == 0 {"),
	one("readers take what was meant for another place", "L3", loadGo,
		"case msg.prev < seq-1:", "case msg.prev < seq-1 && m.epoch > 1000:"),
	one("what was meant for another place must be of this log", "L3", loadGo,
		"switch {\n\tcase msg.prev >= seq:", "switch {\n\tcase m.epoch != 0 && msg.log != m.log:\n\t\treturn bad(\"of another log\")\n\tcase msg.prev >= seq:"),
	one("the epoch of the last leader is used again", "I2", logGo,
		"f := m.newFlight(0, m.epoch+1)", "f := m.newFlight(0, max(m.epoch, 1))"),
	one("a fenced leader goes on", "L4", logGo,
		"if m.role != candidate && (msg.epoch > m.epoch || msg.prev == f.prev) {",
		"if m.role != candidate && msg.epoch > m.epoch+1000 {"),
	one("a leader answers while it hands over", "O2", machineGo,
		"if m.role != leader {\n\t\treturn nil, gtx.Pending, ErrNotLeader // rules L1, L6",
		"if m.role != leader && m.role != handing {\n\t\treturn nil, gtx.Pending, ErrNotLeader // rules L1, L6"),
	{"a table is adopted twice", "O2", []Edit{
		{handoverGo, "m.adopted, m.handed.from = o.txs, o.from\n\t\tm.offer = nil\n\t}\n\tm.dropOffer()", "m.adopted, m.handed.from = maps.Clone(o.txs), o.from\n\t}"},
		{handoverGo, "m.dropAdopted()\n\to := m.offer\n\tif o == nil", "m.adopted = nil\n\to := m.offer\n\tif o == nil"},
		{loadGo, "\tm.dropOffer() // only", "\t// only"},
	}},
	one("a part of a table is adopted", "O2", handoverGo,
		"if o == nil || o.next != o.chunks {", "if o == nil {"),
}

// trimBugs are mistakes in forgetting.
var trimBugs = []Bug{
	one("only the first participant must acknowledge", "G2", requestsGo,
		"m.decide(now, t, participants, e.Call)", "m.decide(now, t, participants[:min(1, len(participants))], e.Call)"),
	one("what has expired is aborted", "C5", machineGo,
		"return nil, gtx.Expired, nil", "return nil, gtx.Aborted, nil"),
	one("what is finished is not loaded", "C3", loadGo,
		"m.tombs.add(at, k, seq)", "_ = at"),
	one("what was written again is not loaded", "G3", trimGo,
		"m.loadCommit(seq, k, r)\n\t\treturn nil", "return nil"),
	one("nothing is written again before a trim", "G3", trimGo,
		"if t == nil || t.record > m.trim.upTo {", "if t == nil || t.record > 0 {"),
	one("the log forgets before the trim is in it", "G3", trimGo,
		"f.trim, m.trim = m.trim, nil", "f.trim, m.trim = m.trim, nil\n\t\tm.emit(Purge{UpTo: f.trim.upTo})"),
	one("a trim does not tell the horizon", "G4", trimGo,
		"m.trim.horizon = m.tombs.horizon", "m.trim.horizon = key{}"),
	one("a trim takes tombstones along", "G5", trimGo,
		"limit = done - 1 // rule G5", "_ = done"),
	one("a trim cuts a hand-over", "L7", trimGo,
		" && !p.splits(c.seq) {", " {"),
}
