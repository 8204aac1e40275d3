package mutate

import (
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// edit is one change of a statement. It gives the new tokens and leaves the old
// alone; nil when there is nothing to change.
type edit struct {
	weight int
	make   func(mu *Mutator, toks []token) []token
}

// edits are weighted so that those which keep a statement valid prevail.
func edits() []edit {
	return []edit{
		{22, (*Mutator).replaceSame},
		{18, (*Mutator).spliceClause},
		{8, (*Mutator).spliceBracket},
		{10, (*Mutator).nastyLiteral},
		{7, (*Mutator).extendCondition},
		{6, (*Mutator).wrapOperand},
		{10, (*Mutator).comment},
		{6, (*Mutator).dropSpace},
		{6, (*Mutator).changeCase},
		{6, (*Mutator).changeQuotes},
		{5, (*Mutator).keywordAsName},
		{2, (*Mutator).addAlias},
		{3, (*Mutator).glue},
		{2, (*Mutator).addClause},
		{1, (*Mutator).prefix},
		{1, (*Mutator).suffix},
		{2, (*Mutator).deleteToken},
		{1, (*Mutator).duplicateToken},
		{1, (*Mutator).swapTokens},
		{1, (*Mutator).insertKeyword},
	}
}

func pick[T any](mu *Mutator, list []T) (v T, ok bool) {
	if len(list) == 0 {
		return v, false
	}
	return list[mu.rng.IntN(len(list))], true
}

// where picks a token of one of some classes, -1 for none.
func (mu *Mutator) where(toks []token, cs ...class) int {
	var at []int
	for i, t := range toks {
		if slices.Contains(cs, t.class) {
			at = append(at, i)
		}
	}
	if i, ok := pick(mu, at); ok {
		return i
	}
	return -1
}

func size(toks []token) (n int) {
	for _, t := range toks {
		n += len(t.text)
	}
	return n
}

// put gives toks with those from start to end replaced.
func put(toks []token, start, end int, with ...token) []token {
	if size(toks)+size(with) > longest {
		return nil
	}
	return slices.Concat(toks[:start], with, toks[end:])
}

var blank = token{space, " "}

func (mu *Mutator) replaceSame(toks []token) []token {
	i := mu.where(toks, name, quoted, number, str, param, compare)
	if i < 0 {
		return nil
	}
	t, ok := pick(mu, mu.stock.tokens[toks[i].class])
	if !ok {
		return nil
	}
	return put(toks, i, i+1, t)
}

// spliceClause replaces the body of a clause by that of another one of its kind.
func (mu *Mutator) spliceClause(toks []token) []token {
	i := mu.where(toks, keyword)
	if i < 0 {
		return nil
	}
	head, start, end, ok := clauseAt(toks, i)
	if !ok {
		return nil
	}
	body, ok := pick(mu, mu.stock.clauses[head])
	if !ok {
		return nil
	}
	return put(toks, start, end, body...)
}

// spliceBracket replaces what stands in brackets by what stands in others behind
// the same word.
func (mu *Mutator) spliceBracket(toks []token) []token {
	i := mu.where(toks, open)
	if i < 0 {
		return nil
	}
	front, end, ok := bracketAt(toks, i)
	if !ok {
		return nil
	}
	body, ok := pick(mu, mu.stock.bracket[front])
	if !ok {
		return nil
	}
	return put(toks, i+1, end, body...)
}

func (mu *Mutator) nastyLiteral(toks []token) []token {
	i := mu.where(toks, number, str, param)
	if i < 0 {
		return nil
	}
	t, _ := pick(mu, nasty(mu.d, mu.m))
	return put(toks, i, i+1, token{str, t})
}

// extendCondition adds AND or OR with another condition, or another assignment,
// at the end of a clause.
func (mu *Mutator) extendCondition(toks []token) []token {
	i := mu.where(toks, keyword)
	if i < 0 {
		return nil
	}
	head, _, end, ok := clauseAt(toks, i)
	if !ok {
		return nil
	}
	var between string
	switch head {
	case "where", "having", "on", "and", "or":
		between = []string{" AND ", " OR ", " AND NOT ", "OR ("}[mu.rng.IntN(4)]
		head = "where"
	case "set", "select", "returning", "values":
		between = []string{", ", ","}[mu.rng.IntN(2)]
	default:
		return nil
	}
	body, ok := pick(mu, mu.stock.clauses[head])
	if !ok {
		return nil
	}
	more := slices.Concat([]token{{op, between}}, body)
	if strings.HasSuffix(between, "(") {
		more = append(more, token{closing, ")"})
	}
	return put(toks, end, end, more...)
}

// wrapOperand puts an operand into brackets, in a call or in a query.
func (mu *Mutator) wrapOperand(toks []token) []token {
	i := mu.where(toks, number, str, param, name)
	if i < 0 {
		return nil
	}
	around, _ := pick(mu, [][2]string{
		{"(", ")"},
		{"((", "))"},
		{"coalesce(", ", 1)"},
		{"(SELECT ", ")"},
		{"-", ""},
		{"- ", ""},
		{"CASE WHEN ", " THEN 1 ELSE 2 END"},
		{"(SELECT max(id) FROM t WHERE id = ", ")"},
		{"", " + 1"},
		{"", " IN (1, 2)"},
		{"", " BETWEEN 1 AND 2"},
		{"", " IS NOT NULL"},
		{"NOT ", ""},
		{"CAST(", " AS CHAR(3))"},
		{"", " IS NOT DISTINCT FROM 1"},
		{"EXISTS (SELECT 1 FROM t WHERE a = ", ")"},
		{"(", ") -- end\n"},
		{"lower(", ")"},
		{"", " COLLATE nocase"},
	})
	return put(toks, i, i+1, token{op, around[0]}, toks[i], token{op, around[1]})
}

// comment puts a comment or odd space between two tokens.
func (mu *Mutator) comment(toks []token) []token {
	i := mu.rng.IntN(len(toks) + 1)
	c, _ := pick(mu, comments(mu.d))
	return put(toks, i, i, token{space, c})
}

func (mu *Mutator) dropSpace(toks []token) []token {
	i := mu.where(toks, space)
	if i < 0 {
		return nil
	}
	if i > 0 && i+1 < len(toks) && wordy(toks[i-1]) && wordy(toks[i+1]) {
		other, _ := pick(mu, []string{"\n", "\t", "  ", "\r\n", "/**/", " \f"})
		return put(toks, i, i+1, token{space, other})
	}
	return put(toks, i, i+1)
}

func wordy(t token) bool {
	return t.class == name || t.class == keyword || t.class == number || t.class == param
}

func (mu *Mutator) changeCase(toks []token) []token {
	i := mu.where(toks, keyword, name)
	if i < 0 {
		return nil
	}
	text := toks[i].text
	switch mu.rng.IntN(3) {
	case 0:
		text = strings.ToUpper(text)
	case 1:
		text = strings.ToLower(text)
	default:
		text = strings.ToUpper(text[:1]) + strings.ToLower(text[1:])
	}
	return put(toks, i, i+1, token{toks[i].class, text})
}

// changeQuotes puts a name into quotes or takes it out of them.
func (mu *Mutator) changeQuotes(toks []token) []token {
	i := mu.where(toks, name, quoted)
	if i < 0 {
		return nil
	}
	t := toks[i]
	if t.class == quoted && len(t.text) > 2 {
		return put(toks, i, i+1, token{name, t.text[1 : len(t.text)-1]})
	}
	text := t.text
	if odd, _ := pick(mu, []string{"", "", "", " ", ".", ";", "--", "'", "é", "WHERE"}); odd != "" {
		text += odd
	}
	quotes := []string{`""`}
	switch {
	case mu.d == sqltext.SQLite:
		quotes = []string{`""`, "``", "[]", "''"}
	case mu.d != sqltext.Postgres && mu.m.ANSIQuotes:
		quotes = append(quotes, "``")
	case mu.d != sqltext.Postgres:
		quotes = []string{"``"}
	}
	q, _ := pick(mu, quotes)
	return put(toks, i, i+1, token{quoted, q[:1] + text + q[1:]})
}

func (mu *Mutator) keywordAsName(toks []token) []token {
	i := mu.where(toks, name, quoted)
	if i < 0 {
		return nil
	}
	w, _ := pick(mu, mu.words)
	return put(toks, i, i+1, token{name, w})
}

// addAlias puts a word behind a name, with AS or without.
func (mu *Mutator) addAlias(toks []token) []token {
	i := mu.where(toks, name, quoted, closing)
	if i < 0 {
		return nil
	}
	as, _ := pick(mu, []string{" AS ", " ", " as "})
	w, _ := pick(mu, mu.words)
	if mu.rng.IntN(2) == 0 {
		w, _ = pick(mu, []string{"x", "y1", "_z"})
	}
	return put(toks, i+1, i+1, token{keyword, as}, token{name, w})
}

// glue joins a number with the word behind it, or any two tokens.
func (mu *Mutator) glue(toks []token) []token {
	var at []int
	for i := 1; i+1 < len(toks); i++ {
		if toks[i].class == space && slices.Contains([]class{number, str, param, quoted}, toks[i-1].class) {
			at = append(at, i)
		}
	}
	i, ok := pick(mu, at)
	if !ok {
		return nil
	}
	return put(toks, i, i+1)
}

// addClause puts a clause of another statement behind a clause or at the end.
func (mu *Mutator) addClause(toks []token) []token {
	donor, _ := pick(mu, mu.seeds)
	i := mu.where(donor, keyword)
	if i < 0 {
		return nil
	}
	_, _, end, ok := clauseAt(donor, i)
	if !ok {
		return nil
	}
	at := len(toks)
	if k := mu.where(toks, keyword); k >= 0 && mu.rng.IntN(2) == 0 {
		if _, _, e, ok := clauseAt(toks, k); ok {
			at = e
		}
	}
	return put(toks, at, at, slices.Concat([]token{blank}, donor[i:end])...)
}

func (mu *Mutator) prefix(toks []token) []token {
	p, _ := pick(mu, []string{
		"EXPLAIN ", "WITH q AS (SELECT 1) ", "WITH q(a) AS (SELECT 1), r AS (SELECT a FROM q WHERE a = ';') ",
		"WITH RECURSIVE q AS (SELECT 1 UNION ALL SELECT 2) ", ";", "(", "/* c */ ", "-- c\n",
	})
	return put(toks, 0, 0, token{op, p})
}

// suffix ends a statement in another way, or has another follow it.
func (mu *Mutator) suffix(toks []token) []token {
	switch mu.rng.IntN(3) {
	case 0:
		s, _ := pick(mu, []string{";", " ;", ";;", "; -- end", " -- end", " /* end */", ")"})
		return put(toks, len(toks), len(toks), token{op, s})
	case 1:
		other, _ := pick(mu, mu.seeds)
		return put(toks, len(toks), len(toks), slices.Concat([]token{{op, "; "}}, other)...)
	}
	w, _ := pick(mu, mu.words)
	return put(toks, len(toks), len(toks), blank, token{keyword, w})
}

func (mu *Mutator) deleteToken(toks []token) []token {
	i, _ := pick(mu, words(toks))
	return put(toks, i, i+1)
}

func (mu *Mutator) duplicateToken(toks []token) []token {
	i, _ := pick(mu, words(toks))
	return put(toks, i, i, toks[i], blank)
}

func (mu *Mutator) swapTokens(toks []token) []token {
	at := words(toks)
	i, _ := pick(mu, at)
	j, _ := pick(mu, at)
	toks = slices.Clone(toks)
	toks[i], toks[j] = toks[j], toks[i]
	return toks
}

func (mu *Mutator) insertKeyword(toks []token) []token {
	i, _ := pick(mu, words(toks))
	w, _ := pick(mu, mu.words)
	return put(toks, i, i, token{keyword, w}, blank)
}
