package inject

// tableBugs are mistakes in which tables a statement changes, and how it names
// them.
var tableBugs = []Bug{
	{
		Name: "ONLY is forgotten", File: "table.go",
		Old: "t.Only = true\n",
		New: "t.Only = false\n",
	},
	{
		Name: "PARTITION behind the alias is not read", File: "table.go",
		Old: "if t.Partition == (Span{}) {",
		New: "if t.Partition != (Span{}) {",
	},
	{
		Name: "one index hint is read", File: "table.go",
		Old: "for p.family && (p.word() == wUse",
		New: "if p.family && (p.word() == wUse",
	},
	{
		Name: "the span of index hints lacks the last token", File: "table.go",
		Old: "t.IndexHint = p.span(from, p.i)",
		New: "t.IndexHint = p.span(from, p.i-1)",
	},
	{
		Name: "NOT INDEXED is not read", File: "table.go",
		Old: "case p.word() == wNot && p.toks[p.i+1].word == wIndexed:",
		New: "case p.word() == wNot && p.toks[p.i+1].word == wBy:",
	},
	{
		Name: "a target is found by its table under an alias", File: "table.go",
		Old: "func (t *Table) exposed() string {\n\tif t.Alias != \"\" {",
		New: "func (t *Table) exposed() string {\n\tif t.Name.Table == \"\" {",
	},
	{
		Name: "of two tables of a name the last is changed", File: "table.go",
		Old: "if at >= 0 {\n\t\t\treturn 0, rTargetName\n\t\t}",
		New: "",
	},
	{
		Name: "all joined tables are targets of an UPDATE", File: "modify.go",
		Old: "if all || named[i] {",
		New: "if all || i < len(named) {",
	},
	{
		Name: "a column without a table changes no table", File: "modify.go",
		Old: "all = true\n",
		New: "all = len(base) == 1\n",
	},
	{
		Name: "a joined table of the WITH list is a target", File: "refs.go",
		Old: "case p.isCTE(t.Name):",
		New: "case p.isCTE(t.Name) && t.Alias == \"\":",
	},
	{
		Name: "the target may be a member of the WITH list", File: "modify.go",
		Old: "if p.isCTE(p.st.Target().Name) {",
		New: "if p.isCTE(p.st.Target().Name) && p.d == 0 {",
	},
	{
		Name: "UPDATE IGNORE is a plain UPDATE", File: "modify.go",
		Old: "if p.family && p.word() == wIgnore {\n\t\tp.st.Or = OrIgnore",
		New: "if p.family && p.word() == wIgnore {\n\t\tp.st.Or = OrFail",
	},
	{
		Name: "of (a, b) = ... the first column is told", File: "modify.go",
		Old: "return columns, i + 1, nil",
		New: "return columns[:1], i + 1, nil",
	},
	{
		Name: "the first assignment is told", File: "modify.go",
		Old: "if i == end {\n\t\t\treturn columns, nil\n\t\t}",
		New: "if i <= end {\n\t\t\treturn columns, nil\n\t\t}",
	},
	{
		Name: "From of several tables begins at the second", File: "modify.go",
		Old: "p.st.From = p.span(from, p.i)",
		New: "p.st.From = p.span(from+2, p.i)",
	},
	{
		Name: "a join stands between no brackets", File: "refs.go",
		Old: "p.i++\n\t\tif r := p.references(rs); r != nil {\n\t\t\treturn r\n\t\t}",
		New: "p.i++\n\t\tif r := p.reference(rs); r != nil {\n\t\t\treturn r\n\t\t}\n\t\tp.i = end",
	},
	{
		Name: "a SELECT DISTINCT that locks is split", File: "select.go",
		Old: "if p.word() == wDistinct ||",
		New: "if p.word() == wNone && p.at(tEnd) ||",
	},
	{
		Name: "a LIMIT behind an aggregate is split", File: "select.go",
		Old: "|| calls && p.st.Limit != (Span{}) {",
		New: "{",
	},
	{
		Name: "OFFSET is lost from the LIMIT of a SELECT", File: "select.go",
		Old: "p.st.Limit.End = offset.End",
		New: "_ = offset",
	},
}
