package inject

// nameBugs are mistakes in what a name means.
var nameBugs = []Bug{
	{
		Name: "Postgres names are cut at 64 bytes", File: "name.go",
		Old: `const maxPostgresName = 63`,
		New: `const maxPostgresName = 64`,
	},
	{
		Name: "Postgres names are not folded", File: "name.go",
		Old: "s = lowerASCII(s)",
		New: "s = s[:]",
	},
	{
		Name: "Postgres names are folded by Unicode", File: "name.go",
		Old: "s = lowerASCII(s)",
		New: "s = strings.ToLower(s)",
	},
	{
		Name: "quoted Postgres names are folded", File: "name.go",
		Old: "\t\t\ts = strings.ReplaceAll(s, quote+quote, quote)\n\t\t}\n\t} else if p.d == Postgres {",
		New: "\t\t\ts = strings.ReplaceAll(s, quote+quote, quote)\n\t\t}\n\t}\n\tif p.d == Postgres {",
	},
	{
		Name: "doubled quotes stay in a name", File: "name.go",
		Old: `s = strings.ReplaceAll(s, quote+quote, quote)`,
		New: `s = strings.ReplaceAll(s, quote+quote, quote+quote)`,
	},
	{
		Name: "the schema is lost", File: "name.go",
		Old: `t.Name.Schema, t.Name.Table = t.Name.Table, p.unquote(p.toks[p.i])`,
		New: `t.Name.Table = p.unquote(p.toks[p.i])`,
	},
	{
		Name: "the span of an alias begins at AS", File: "name.go",
		Old: `t.AliasSpan = p.span(p.i, p.i+1)`,
		New: `t.AliasSpan = p.span(p.i-1, p.i+1)`,
	},
	{
		Name: "an alias needs AS in every dialect", File: "table.go",
		Old: `p.aliasOf(t, p.d == SQLite)`,
		New: `p.aliasOf(t, p.d != 0)`,
	},
	{
		Name: "a part of a Postgres column is the column", File: "name.go",
		Old: "if p.family {\n\t\t\tc.Table, c.Name",
		New: "if p.d != SQLite {\n\t\t\tc.Table, c.Name",
	},
	{
		Name: "LIMIT is an alias", File: "words.go",
		Old: "wLeft, wLimit, wLowPriority, wNatural, wNot, wOn, wOnly, wOr, wOrder,",
		New: "wLeft, wLowPriority, wNatural, wNot, wOn, wOnly, wOr, wOrder,",
	},
}
