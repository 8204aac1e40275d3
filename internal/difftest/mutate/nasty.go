package mutate

import (
	"slices"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// nasty are literals that a lexer trips over.
func nasty(d sqltext.Dialect, m sqltext.Mode) []string {
	switch {
	case d == sqltext.Postgres && m.BackslashStrings:
		return nastyPostgresBackslash
	case d == sqltext.Postgres:
		return nastyPostgres
	case d == sqltext.SQLite:
		return nastySQLite
	case m.NoBackslashEscapes:
		return nastyPlainMySQL
	}
	return nastyMySQL
}

// nastyAnywhere mean the same in every dialect and mode.
var nastyAnywhere = []string{
	`''`, `''''`, `'a''b'`, `'--'`, `'/*'`, `'*/'`, `';'`, `'#'`, `'$$'`, `'"'`, "'`'", `'?'`, `'$1'`, `':a'`,
	`' WHERE '`, `'('`, `')'`, `'é'`, "'\n'", `'[]'`, `'DELETE FROM t'`, `.5`, `5.`, `1e5`, `1.5e+3`, `2E-1`, `00`,
	`-1`, `- 1`, `+1`, `--1` + "\n1", `NULL`, `TRUE`, `(1)`, `1/*x*/`, `'a'/*'*/`, `18446744073709551615`,
}

var (
	nastyBackslash = []string{`'\''`, `'\\'`, `'\\\''`, `'a\'; --'`, `'\n'`, `'\"'`}
	nastyNoEscape  = []string{`'\'`, `'\\'`, `'a\'`, `'\''''`}

	nastyFamily = []string{
		`X'41'`, `x'4142'`, `B'01'`, `0b01`, `0x1F`, `N'a'`, `n'it''s'`, `_utf8mb4'x'`, `'a' 'b'`, `@v`, `@'v'`, "@`v`",
		`@@sql_mode`, `DATE '2020-01-01'`, `INTERVAL 1 DAY`, `1 DIV 2`, `CURRENT_TIMESTAMP`,
	}
	nastyMySQL      = slices.Concat(nastyAnywhere, nastyBackslash, nastyFamily, []string{`"a'b"`, `"\""`, `"a""b"`, `"--"`, `'a'"b"`})
	nastyPlainMySQL = slices.Concat(nastyAnywhere, nastyNoEscape, nastyFamily, []string{`"\"`, `"a""b"`})

	nastyPostgresOnly = []string{
		`E'\''`, `e'\\'`, `E'a''b\\'`, `$$a$$`, `$q$ ' $q$`, `$_$;$_$`, `$a$ $b$ $a$`, `N'x'`, `B'1'`, `X'1F'`, `U&'\0041'`,
		`U&'a\\'`, "'a'\n'b'", `'{}'::jsonb`, `1::int`, `'1 day'::interval`, `CURRENT_TIMESTAMP`, `ARRAY[1, 2]`, `ROW(1, 2)`,
		`(ARRAY[1])[1]`, `$1`, `$2`, `a ->> 'b'`, `a ? 'b'`, `a #- '{b}'`, `a @> '{}'`, `INTERVAL '1' YEAR`, `"a""b"`, `CURRENT_USER`,
	}
	nastyPostgres          = slices.Concat(nastyAnywhere, nastyNoEscape, nastyPostgresOnly)
	nastyPostgresBackslash = slices.Concat(nastyAnywhere, nastyBackslash, nastyPostgresOnly)

	nastySQLite = slices.Concat(nastyAnywhere, nastyNoEscape, []string{
		`X'41'`, `x''`, `0x1F`, `1_000`, `"a""b"`, `[a b]`, "`a``b`", `"WHERE"`, `[;]`, `:p`, `@p`, `$p`, `?3`, `?1`, `?`,
		`CURRENT_TIMESTAMP`, `a -> 'b'`, `a ->> '$.b'`, `a || b`, `a == b`, `a NOTNULL`, `a ISNULL`, `a GLOB 'b'`,
		`a COLLATE nocase`, `(a, b)`, `random()`, `RAISE(IGNORE)`,
	})
)

// comments are what may stand between two tokens.
func comments(d sqltext.Dialect) []string {
	switch d {
	case sqltext.Postgres:
		return commentsPostgres
	case sqltext.SQLite:
		return commentsSQLite
	}
	return commentsMySQL
}

var (
	commentsAnywhere = []string{
		" ", "  ", "\n", "\t", "\r\n", " \f ", "/**/", "/* */", "/* ' */", `/* " */`, "/* -- */", "/* ; */", "/* WHERE */",
		"/* ) */", "/*/ */", "/***/", "-- x\n", "-- '\n", "-- /*\n", "-- ;\n", "/*\n*/", "/* é */",
	}
	commentsPostgres = slices.Concat(commentsAnywhere, []string{"/* /* */ */", "--x\n", "--\n", "/*+ Set(a b) */", "--'\r"})
	commentsSQLite   = slices.Concat(commentsAnywhere, []string{"/* /* */", "--x\n", "--\n", "--'\r\n"})
	commentsMySQL    = slices.Concat(commentsAnywhere, []string{
		"# '\n", "#\n", "# /*\n", "--\n", "--\tx\n", "/* /* */", "/*! */", "/*+ QB_NAME(a) */", "/*!40000 */",
	})
)
