package inject

// withBugs are mistakes in WITH, MERGE and statements inside others.
var withBugs = []Bug{
	{
		Name: "a nested DELETE is not seen", File: "everywhere.go",
		Old: "if p.d != Postgres || p.toks[i+1].word == wFrom {",
		New: "if p.toks[i+1].word == wInto {",
	},
	{
		Name: "a nested INSERT is not seen", File: "everywhere.go",
		Old: "if p.d != Postgres && !p.is(i+1, tOpen, '(') || p.toks[i+1].word == wInto {",
		New: "if p.toks[i+1].word == wFrom {",
	},
	{
		Name: "a nested UPDATE is not seen", File: "everywhere.go",
		Old: "p.d != Postgres || k == tWord || k == tQuoted {",
		New: "p.d != Postgres && k != tWord {",
	},
	{
		Name: "SELECT ... INTO reads", File: "everywhere.go",
		Old: "case wInto:\n\t\t\treturn rInto",
		New: "case wInto:",
	},
	{
		Name: "a write in WITH is not told", File: "with.go",
		Old: "if p.d != Postgres || p.inner || !p.writeAt(open+1) {",
		New: "if p.d != Postgres || !p.inner || !p.writeAt(open+1) {",
	},
	{
		Name: "a write may stand in a WITH of a WITH", File: "with.go",
		Old: "if p.d != Postgres || p.inner || !p.writeAt(open+1) {",
		New: "if p.d != Postgres || !p.writeAt(open+1) {",
	},
	{
		Name: "a write behind a WITH of its own is not told", File: "with.go",
		Old: "if p.toks[i].word == wWith {\n\t\ti++",
		New: "if p.toks[i].word == wWhere {\n\t\ti++",
	},
	{
		Name: "the body of a member of WITH has its bracket", File: "with.go",
		Old: "Body: p.span(open+1, end)",
		New: "Body: p.span(open+1, end+1)",
	},
	{
		Name: "the first member of WITH is told", File: "with.go",
		Old: "p.st.CTEs = append(p.st.CTEs, cte)",
		New: "p.st.CTEs = append(p.st.CTEs[:0], cte)",
	},
	{
		Name: "WHEN NOT MATCHED BY SOURCE is BY TARGET", File: "merge.go",
		Old: "w.Match = NotMatchedBySource",
		New: "w.Match = NotMatched",
	},
	{
		Name: "the WHEN of CASE is one of MERGE", File: "merge.go",
		Old: "case p.toks[i].word == wCase:\n\t\treturn 1",
		New: "case p.toks[i].word == wCase:\n\t\treturn 0",
	},
	{
		Name: "the ON of a join is that of MERGE", File: "merge.go",
		Old: "if !free {\n\t\t\t\tjoins++",
		New: "if free {\n\t\t\t\tjoins++",
	},
	{
		Name: "the columns of MERGE's INSERT are forgotten", File: "merge.go",
		Old: "if w.Columns, r = p.columnList(); r != nil {",
		New: "if _, r = p.columnList(); r != nil {",
	},
}
