package inject

// insertBugs are mistakes in INSERT, its rows and its upserts.
var insertBugs = []Bug{
	{
		Name: "a query runs on over ON CONFLICT", File: "insert.go",
		Old: "case w == wReturning && p.d != MySQL, p.upsertAt():",
		New: "case w == wReturning && p.d != MySQL:",
	},
	{
		Name: "a query runs on over RETURNING", File: "insert.go",
		Old: "case w == wReturning && p.d != MySQL, p.upsertAt():",
		New: "case w == wReturning && p.d == 0, p.upsertAt():",
	},
	{
		Name: "a row alias loses its columns", File: "insert.go",
		Old: "p.st.RowAlias = p.span(from, p.i)",
		New: "p.st.RowAlias = p.span(from, from+2)",
	},
	{
		Name: "OVERRIDING is forgotten", File: "insert.go",
		Old: "*sp = p.span(p.i, p.i+3)",
		New: "*sp = Span{}",
	},
	{
		Name: "OR REPLACE is OR IGNORE", File: "insert.go",
		Old: "p.st.Or = OrReplace\n",
		New: "p.st.Or = OrIgnore\n",
	},
	{
		Name: "a literal in hexadecimal is a number", File: "values.go",
		Old: "case t.kind == tNumber && t.op == 0, ",
		New: "case t.kind == tNumber, ",
	},
	{
		Name: "bytes are text", File: "values.go",
		Old: "return letter == 0 || letter == 'E'",
		New: "return letter == 0 || letter == 'X' || letter == 'E'",
	},
	{
		Name: "markers of values count through all statements", File: "values.go",
		Old: "v.Placeholder = int(t.mate) - p.marker",
		New: "v.Placeholder = int(t.mate)",
	},
	{
		Name: "an expression that begins with a marker is a marker", File: "values.go",
		Old: "case j > i+1:\n",
		New: "case j > i+1 && t.kind != tParam:\n",
	},
	{
		Name: "the last value of a row is lost", File: "values.go",
		Old: "row = append(row, p.value(from, i))\n\t\tif i == end {",
		New: "if i < end || len(row) == 0 {\n\t\t\trow = append(row, p.value(from, i))\n\t\t}\n\t\tif i == end {",
	},
	{
		Name: "the condition of DO UPDATE is forgotten", File: "upsert.go",
		Old: "u.Where, r = p.body()",
		New: "_, r = p.body()",
	},
	{
		Name: "one ON CONFLICT is read", File: "upsert.go",
		Old: "len(p.st.Upserts) > 0 && p.d != SQLite",
		New: "len(p.st.Upserts) > 0",
	},
	{
		Name: "the target of ON CONFLICT ends before its condition", File: "upsert.go",
		Old: "u.Target = p.span(from, p.i)",
		New: "u.Target = p.span(from, p.skip(from))",
	},
}
