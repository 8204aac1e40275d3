package inject

// lexerBugs are mistakes in where tokens begin and end.
var lexerBugs = []Bug{
	{
		Name: "-- is always a comment in MySQL", File: "lex.go",
		Old: `return !l.family || c <= ' ' || c == 0x7f`,
		New: `return c != 0xff`,
	},
	{
		Name: "comments nest in every dialect", File: "lex.go",
		Old: `case l.d == Postgres && l.text[i] == '/' && l.text[i+1] == '*':`,
		New: `case l.text[i] == '/' && l.text[i+1] == '*':`,
	},
	{
		Name: "comments do not nest in Postgres", File: "lex.go",
		Old: `case l.d == Postgres && l.text[i] == '/' && l.text[i+1] == '*':`,
		New: `case l.d == 0 && l.text[i] == '/' && l.text[i+1] == '*':`,
	},
	{
		Name: "version comments are comments in MariaDB", File: "lex.go",
		Old: `if l.family && (strings.HasPrefix(rest, "!")`,
		New: `if l.d == MySQL && (strings.HasPrefix(rest, "!")`,
	},
	{
		Name: "hint comments are not looked into", File: "lex.go",
		Old: `hints := l.d != SQLite && strings.HasPrefix(rest, "+")`,
		New: `hints := l.d == 0 && strings.HasPrefix(rest, "+")`,
	},
	{
		Name: "a comment from # to the end is read in MySQL only", File: "lex.go",
		Old: `c == '#' && l.family:`,
		New: `c == '#' && l.d == MySQL:`,
	},
	{
		Name: "ANSI_QUOTES is not honoured", File: "lex.go",
		Old: `case c == '"' && l.family && !l.m.ANSIQuotes:`,
		New: `case c == '"' && l.family:`,
	},
	{
		Name: "a line comment of Postgres does not end at a carriage return", File: "lex.go",
		Old: `(l.text[l.pos] != '\r' || l.d != Postgres)`,
		New: `(l.text[l.pos] != '\r' || l.d != 0)`,
	},
	{
		Name: "the partner of a bracket is the token before it", File: "lex.go",
		Old: `l.toks[from].mate = int32(len(l.toks))`,
		New: `l.toks[from].mate = int32(len(l.toks)) - 1`,
	},
	{
		Name: "$ ends a name", File: "lex.go",
		Old: `c == '_' || c == '$' || c >= 0x80`,
		New: `c == '_' || c >= 0x80`,
	},
	{
		Name: "a number may run into a word", File: "lexnumber.go",
		Old: `if i < len(l.text) && (inName(l.text[i]) || l.text[i] == '.') {`,
		New: `if i < len(l.text) && l.text[i] == '.' {`,
	},
	{
		Name: "a number runs on over letters", File: "lexnumber.go",
		Old: `for i < len(l.text) && isDigit(l.text[i]) {`,
		New: `for i < len(l.text) && inName(l.text[i]) {`,
	},
	{
		Name: "a dollar quote ends at the first dollar", File: "lexnumber.go",
		Old: "n := strings.Index(l.text[i+1:], tag)",
		New: "n := strings.IndexByte(l.text[i+1:], '$') + 1 - len(tag)",
	},
	{
		Name: "a dollar quote ends at $$ whatever its tag", File: "lexnumber.go",
		Old: "tag := l.text[l.pos : i+1]",
		New: `tag := "$$"`,
	},
	{
		Name: "backslash escapes under NO_BACKSLASH_ESCAPES", File: "lexword.go",
		Old: `backslash := l.family && !l.m.NoBackslashEscapes ||`,
		New: `backslash := l.family ||`,
	},
	{
		Name: "backslash escapes nothing in MySQL", File: "lexword.go",
		Old: `backslash := l.family && !l.m.NoBackslashEscapes ||`,
		New: `backslash :=`,
	},
	{
		Name: "backslash escapes nothing in E''", File: "lexword.go",
		Old: ` || letter == 'E' ||`,
		New: ` || letter == 0xff ||`,
	},
	{
		Name: "standard_conforming_strings=off is not honoured", File: "lexword.go",
		Old: `l.d == Postgres && l.m.BackslashStrings && (letter == 0 || letter == 'N')`,
		New: `l.d == Postgres && l.m.BackslashStrings && letter == 'N'`,
	},
	{
		Name: "a doubled quote ends a string", File: "lexword.go",
		Old: `case c == quote && i+1 < len(l.text) && l.text[i+1] == quote:`,
		New: `case c == quote && l.d == 0:`,
	},
	{
		Name: "a doubled quote ends a name", File: "lexword.go",
		Old: `if i+1 < len(l.text) && l.text[i+1] == quote {`,
		New: `if l.d == 0 {`,
	},
	{
		Name: "a word after a dot is a keyword", File: "lexword.go",
		Old: "return rNameSpace\n\t\t}\n\t\tw = wNone",
		New: "return rNameSpace\n\t\t}",
	},
	{
		Name: "a word after AS is a keyword", File: "lexword.go",
		Old: `case last.word == wAs && w != wNot && w != wMaterialized:`,
		New: `case last.word == wAs && w == wNot:`,
	},
	{
		Name: "a user variable ends at a dot", File: "lexword.go",
		Old: `for i < len(l.text) && (inName(l.text[i]) || l.text[i] == '.') {`,
		New: `for i < len(l.text) && inName(l.text[i]) {`,
	},
	{
		Name: "keywords are read in lower case only", File: "words.go",
		Old: `low[i] = lower(s[i])`,
		New: `low[i] = s[i]`,
	},
}
