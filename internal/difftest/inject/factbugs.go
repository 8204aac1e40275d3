package inject

// factBugs are mistakes in placeholders, functions, locks, and the statements
// that have no clauses.
var factBugs = []Bug{
	{
		Name: "a marker's span lacks its sign", File: "lexnumber.go",
		Old: "Placeholder{Span: Span{l.pos, end}",
		New: "Placeholder{Span: Span{l.pos + 1, end}",
	},
	{
		Name: "? of SQLite goes on from the last number, not the highest", File: "lexnumber.go",
		Old: "l.nvar = max(l.nvar, n)",
		New: "l.nvar = n",
	},
	{
		Name: "a named marker takes a new argument each time", File: "lexnumber.go",
		Old: "if !again {",
		New: "if !again || n > 0 {",
	},
	{
		Name: ":a and @a are one marker", File: "lexnumber.go",
		Old: "marker := l.text[l.pos:end]",
		New: "marker := \":\" + l.text[l.pos+1:end]",
	},
	{
		Name: "ordinals of SQLite count through all statements", File: "lex.go",
		Old: "l.nvar, l.named = 0, nil",
		New: "l.named = nil",
	},
	{
		Name: "the first marker of a statement is lost", File: "parse.go",
		Old: "p.st.Placeholders = p.params[p.marker:end:end]",
		New: "p.st.Placeholders = p.params[min(p.marker+1, end):end:end]",
	},
	{
		Name: "FOR KEY SHARE is no lock", File: "select.go",
		Old: "case next == wKey && p.toks[i+2].word == wShare:",
		New: "case next == wKey && p.toks[i+2].word == wUpdate:",
	},
	{
		Name: "FOR UPDATE is no lock", File: "everywhere.go",
		Old: "p.st.Locking = p.st.Locking || depth == 0 || p.locksQuery(int(within[depth-1]))",
		New: "",
	},
	{
		Name: "a FOR in substring is a lock", File: "everywhere.go",
		Old: "return p.queryAt(i) && (i == p.first",
		New: "return true || p.queryAt(i) && (i == p.first",
	},
	{
		Name: "functions without brackets are not told", File: "everywhere.go",
		Old: "case t.kind == tWord && niladic[p.d][t.word]:",
		New: "case t.kind == tWord && niladic[p.d][t.word] && p.is(i+1, tOpen, '('):",
	},
	{
		Name: "user variables are not told", File: "everywhere.go",
		Old: "case t.kind == tVar:\n\t\t\tall.add(p.source(t))",
		New: "case t.kind == tVar:",
	},
	{
		Name: "quoted functions are not told", File: "everywhere.go",
		Old: "case t.kind != tWord && t.kind != tQuoted, !p.is",
		New: "case t.kind != tWord, !p.is",
	},
	{
		Name: "NEXT VALUE FOR is not told", File: "everywhere.go",
		Old: `all.add("nextval")`,
		New: ``,
	},
	{
		Name: "functions are told as written", File: "everywhere.go",
		Old: "name = strings.ToLower(name)",
		New: "name = strings.Clone(name)",
	},
	{
		Name: "EXPLAIN (ANALYZE) does not run", File: "session.go",
		Old: `"verbose": true, "costs": true,`,
		New: `"verbose": true, "analyze": true, "costs": true,`,
	},
	{
		Name: "ROLLBACK TO SAVEPOINT is a savepoint", File: "session.go",
		Old: "p.st.Kind = RollbackTo",
		New: "p.st.Kind = Savepoint",
	},
	{
		Name: "ROLLBACK WORK ends no transaction", File: "session.go",
		Old: "if !p.accept(\"to\") {\n\t\t\treturn rTransaction\n\t\t}",
		New: "p.accept(\"to\")",
	},
	{
		Name: "SET STATEMENT is a plain SET", File: "other.go",
		Old: "return rSetStatement",
		New: "return rSet",
	},
	{
		Name: "ANALYZE reads", File: "other.go",
		Old: "if first.word == wShow && p.d != SQLite {",
		New: "if p.d != SQLite && (first.word == wShow || p.says(p.i, \"analyze\")) {",
	},
}
