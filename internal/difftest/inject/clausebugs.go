package inject

// clauseBugs are mistakes in where a clause begins and ends.
var clauseBugs = []Bug{
	{
		Name: "IS DISTINCT FROM begins a clause", File: "clause.go",
		Old: `if w == wFrom && p.toks[i-1].word == wDistinct && !p.family {`,
		New: `if w == wFrom && p.toks[i-1].word == wDistinct && p.d == SQLite {`,
	},
	{
		Name: "WITHIN GROUP begins a clause", File: "clause.go",
		Old: `if w == wGroup && p.d == Postgres &&`,
		New: `if w == wGroup && p.d == 0 &&`,
	},
	{
		Name: "LIMIT is a part of WHERE in MySQL", File: "words.go",
		Old: "wHaving, wInto, wIntersect, wJoin, wLimit, wOn, wOrder,\n\twReturning, wSelect, wSet, wStraightJoin",
		New: "wHaving, wInto, wIntersect, wJoin, wOn, wOrder,\n\twReturning, wSelect, wSet, wStraightJoin",
	},
	{
		Name: "RETURNING is a part of WHERE in Postgres", File: "words.go",
		Old: "wOrder, wReturning, wSelect, wSet, wUnion, wUsing, wWhere, wWindow),",
		New: "wOrder, wSelect, wSet, wUnion, wUsing, wWhere, wWindow),",
	},
	{
		Name: "FROM is a part of SET in SQLite", File: "words.go",
		Old: "SQLite: set(wExcept, wFrom, wGroup,",
		New: "SQLite: set(wExcept, wGroup,",
	},
	{
		Name: "DELETE of MariaDB takes no RETURNING", File: "clause.go",
		Old: "Delete: {\n\t\tMySQL:    {wWhere, wOrder, wLimit},\n\t\tMariaDB:  {wWhere, wOrder, wLimit, wReturning},",
		New: "Delete: {\n\t\tMySQL:    {wWhere, wOrder, wLimit},\n\t\tMariaDB:  {wWhere, wOrder, wLimit},",
	},
	{
		Name: "RETURNING stands behind LIMIT in UPDATE of SQLite", File: "clause.go",
		Old: "{wFrom, wWhere, wReturning, wOrder, wLimit}",
		New: "{wFrom, wWhere, wOrder, wLimit, wReturning}",
	},
	{
		Name: "clauses may stand twice", File: "clause.go",
		Old: "\tif !p.at(tEnd) {\n\t\treturn p.strayClause()\n\t}\n\treturn nil\n}\n\n// clause reads the clause",
		New: "\tif !p.at(tEnd) && p.clauseAt(p.i) {\n\t\treturn p.tail()\n\t}\n\treturn nil\n}\n\n// clause reads the clause",
	},
	{
		Name: "what follows the last clause is left over", File: "clause.go",
		Old: "\tif !p.at(tEnd) {\n\t\treturn p.strayClause()\n\t}\n\treturn nil\n}\n\n// clause reads the clause",
		New: "\treturn nil\n}\n\n// clause reads the clause",
	},
	{
		Name: "a clause loses its last token", File: "clause.go",
		Old: "return p.span(from, p.i), nil\n}\n\n// danglingOperator",
		New: "return p.span(from, max(from+1, p.i-1)), nil\n}\n\n// danglingOperator",
	},
	{
		Name: "a clause may end in an operator", File: "clause.go",
		Old: "return p.toks[i].kind == tOp && p.toks[i].op != '*'",
		New: "return p.toks[i].kind == tOp && p.toks[i].op == ','",
	},
	{
		Name: "the condition is forgotten", File: "clause.go",
		Old: "p.st.Where, r = p.whereBody()",
		New: "_, r = p.whereBody()",
	},
	{
		Name: "WHERE CURRENT OF is a condition", File: "clause.go",
		Old: "if p.word() == wCurrent && p.toks[p.i+1].word == wOf {",
		New: "if p.word() == wCurrent && p.toks[p.i+1].word == wOr {",
	},
	{
		Name: "OFFSET is not a part of LIMIT in MySQL", File: "clause.go",
		Old: "if p.is(p.i, tOp, ',') || p.word() == wOffset {",
		New: "if p.is(p.i, tOp, ',') {",
	},
	{
		Name: "LIMIT a, b is a alone", File: "clause.go",
		Old: "\t\tif !p.count() {\n\t\t\treturn Span{}, rUnknownClause\n\t\t}\n\t}\n\treturn p.span(from, p.i), nil",
		New: "\t\tif !p.count() {\n\t\t\treturn Span{}, rUnknownClause\n\t\t}\n\t}\n\treturn p.span(from, from+1), nil",
	},
	{
		Name: "square brackets are not skipped", File: "parse.go",
		Old: "func (p *parser) skip(i int) int {\n\tif p.toks[i].kind == tOpen {",
		New: "func (p *parser) skip(i int) int {\n\tif p.is(i, tOpen, '(') {",
	},
	{
		Name: "the second of two statements is lost", File: "parse.go",
		Old: "case 1:\n\t\treturn parts[0], nil",
		New: "case 1, 2:\n\t\treturn parts[0], nil",
	},
	{
		Name: "a statement inside another is taken for one by itself", File: "parse.go",
		Old: "q.i, q.first, q.last, q.inner, q.marker = i, i, j, inner, 0",
		New: "q.i, q.first, q.last, q.inner, q.marker = i, i, j, false, 0",
	},
}
