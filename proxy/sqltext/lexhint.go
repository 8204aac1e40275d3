package sqltext

import "strings"

// hints are the optimizer hints of MySQL and MariaDB that choose a way to the
// rows and never other rows, without NO_ in front. SET_VAR and RESOURCE_GROUP
// are not among them: SET_VAR can change how expressions are evaluated.
var hints = func() map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq(`bka bnl derived_condition_pushdown group_index hash_join icp index index_merge
		join_fixed_order join_index join_order join_prefix join_suffix max_execution_time merge mrr order_index qb_name
		range_optimization rowid_filter semijoin skip_scan split_materialized subquery`) {
		m[name] = true
	}
	return m
}()

// hintComment refuses the hints in a comment, given without its marks, that may
// change what a statement does. A server that reads no hints at this place takes
// them for a comment.
func (l *lexer) hintComment(body string) *Refusal {
	if l.d == Postgres {
		return pgHintPlan(body)
	}
	for {
		body = strings.TrimLeft(body, " \t\r\n")
		if body == "" {
			return nil
		}
		n := nameLen(body)
		name := lowerASCII(body[:n])
		if !hints[strings.TrimPrefix(name, "no_")] {
			return rHintComment
		}
		body = strings.TrimLeft(body[n:], " \t\r\n")
		if !strings.HasPrefix(body, "(") {
			return rHintComment
		}
		end := strings.IndexByte(body, ')')
		if end < 0 || !plainHint(body[1:end]) {
			return rHintComment
		}
		body = body[end+1:]
	}
}

// plainHint tells whether the brackets of a hint hold names and numbers without
// a character that could hide where the hint ends.
func plainHint(s string) bool {
	for i := range len(s) {
		if !inName(s[i]) && strings.IndexByte(" \t\r\n,.@%`", s[i]) < 0 {
			return false
		}
	}
	return strings.Count(s, "`")%2 == 0
}

// pgHintPlan refuses Set(parameter value) of the extension pg_hint_plan: the
// planner evaluates constants, under the other setting. Its other hints choose
// a way to the rows.
func pgHintPlan(body string) *Refusal {
	for body != "" {
		n := nameLen(body)
		if n == 0 {
			body = body[1:]
			continue
		}
		if strings.EqualFold(body[:n], "set") && strings.HasPrefix(strings.TrimLeft(body[n:], " \t\r\n\f\v"), "(") {
			return rHintComment
		}
		body = body[n:]
	}
	return nil
}
