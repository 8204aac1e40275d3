package corpus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Refused is the Kind of a Label whose text must be refused.
const Refused = "refused"

// Label says what a statement is. What it does not name is not there, but for
// Params, Calls and Code, which may be left open.
type Label struct {
	Kind    string // select, show, explain, insert, replace, update, delete, merge, savepoint, rollback-to, release, several, or Refused
	Targets []Table
	Multi   bool
	Locking bool
	// Clauses are the top-level clauses that are there, each once, sorted:
	// from, where, order, limit, returning, lock, overriding, rowalias, on, only,
	// partition, indexhint.
	Clauses []string
	CTEs    []CTE
	Set     []string // assigned columns, qualifier.name when qualified

	Source  string   // values, set, defaults, query; of insert and replace
	Columns []string // nil when there is no list
	Rows    int      // rows of values, set and defaults as written; 0 for query
	Or      string   // ignore, replace, abort, fail, rollback; "" for none
	Upserts []Upsert
	Whens   []When

	Savepoint string
	Parts     []string // kinds of the statements of several

	// Params is how many parameter markers the text has; -1 when not said. That of
	// a template is counted in the template.
	Params int
	// Calls are some of the functions that the text calls, lower case.
	Calls []string
	// Code is the refusal that must be given, for Refused; "" when any.
	Code string
	// Except is the refusal that the splitter gives although the text is fine: a
	// known gap, listed here. "" for none.
	Except string
}

// Table is a target of a Label.
type Table struct{ Schema, Table, Alias string }

// CTE is a member of the WITH list; Writes is the kind of its statement when it
// writes.
type CTE struct{ Name, Writes string }

// Upsert is ON CONFLICT or ON DUPLICATE KEY UPDATE: Set is nil for DO NOTHING.
type Upsert struct{ Set []string }

// When is one WHEN of MERGE: matched, notmatched or bysource, and insert, update,
// delete or nothing.
type When struct{ Match, Action string }

var (
	kinds = []string{
		"select", "show", "explain", "insert", "replace", "update", "delete", "merge",
		"savepoint", "rollback-to", "release", "several", Refused,
	}
	clauses = []string{
		"from", "where", "order", "limit", "returning", "overriding", "rowalias", "on", "only",
		"partition", "indexhint",
	}
	sources = []string{"values", "set", "defaults", "query"}
)

// ParseLabel reads the words of a label, parted by spaces:
//
//	KIND [TARGET[,TARGET]] [clause...] [key=value...]
//
// A target is [schema.]table[:alias], where ~ stands for a space; kinds that change
// nothing have none. Keys are lock=TARGET (select: the table that it locks)
// with=a,b:delete  set=a,t.b  values=ROWS  set=COLUMN (insert: source set)
// defaults=ROWS  columns=a,b  or=ignore  upsert=a,b or upsert=nothing (one for each)
// when=matched:update (one for each)  savepoint=n  parts=insert,update
// params=N  calls=f,@v  code=CODE  except=CODE. Words without a value are the names
// of Clauses, multi, locking and query.
func ParseLabel(s string) (Label, error) {
	words := strings.Fields(s)
	l := Label{Params: -1}
	if len(words) == 0 || !slices.Contains(kinds, words[0]) {
		return l, fmt.Errorf("label %q: unknown kind", s)
	}
	l.Kind = words[0]
	for i, w := range words[1:] {
		key, value, isKey := strings.Cut(w, "=")
		var err error
		switch {
		case isKey:
			err = l.setKey(key, value)
		case i == 0 && l.writes():
			l.Targets = parseTables(w)
		default:
			err = l.setWord(w)
		}
		if err != nil {
			return l, fmt.Errorf("label %q: %w", s, err)
		}
	}
	slices.Sort(l.Clauses)
	return l, l.check()
}

// writes tells whether the word behind the kind names targets.
func (l *Label) writes() bool {
	return slices.Contains([]string{"insert", "replace", "update", "delete", "merge"}, l.Kind)
}

func parseTables(s string) []Table {
	var tables []Table
	for t := range strings.SplitSeq(strings.ReplaceAll(s, "~", " "), ",") {
		name, alias, _ := strings.Cut(t, ":")
		schema, table, qualified := strings.Cut(name, ".")
		if !qualified {
			schema, table = "", name
		}
		tables = append(tables, Table{schema, table, alias})
	}
	return tables
}

func (l *Label) setWord(w string) error {
	switch {
	case w == "multi":
		l.Multi = true
	case w == "locking":
		l.Locking = true
	case w == "query":
		l.Source = w
	case slices.Contains(clauses, w) && !slices.Contains(l.Clauses, w):
		l.Clauses = append(l.Clauses, w)
	default:
		return fmt.Errorf("word %q is unknown or stands twice", w)
	}
	return nil
}

func (l *Label) setKey(key, value string) (err error) {
	list := strings.Split(strings.ReplaceAll(value, "~", " "), ",")
	switch key {
	case "with":
		for _, c := range list {
			name, writes, _ := strings.Cut(c, ":")
			l.CTEs = append(l.CTEs, CTE{name, writes})
		}
	case "set":
		if l.Kind == "insert" || l.Kind == "replace" {
			l.Source, l.Rows, l.Columns = key, 1, list
		} else {
			l.Set = list
		}
	case "values", "defaults":
		l.Source = key
		l.Rows, err = strconv.Atoi(value)
	case "lock":
		l.Targets, l.Locking = parseTables(value), true
		l.Clauses = append(l.Clauses, key)
	case "columns":
		l.Columns = list
	case "or":
		l.Or = value
	case "upsert":
		if value == "nothing" {
			list = nil
		}
		l.Upserts = append(l.Upserts, Upsert{list})
	case "when":
		match, action, _ := strings.Cut(value, ":")
		l.Whens = append(l.Whens, When{match, action})
	case "savepoint":
		l.Savepoint = list[0]
	case "parts":
		l.Parts = list
	case "params":
		l.Params, err = strconv.Atoi(value)
	case "calls":
		l.Calls = list
	case "code":
		l.Code = value
	case "except":
		l.Except = value
	default:
		err = fmt.Errorf("unknown key %q", key)
	}
	return err
}

// check finds what a person forgets while writing a label.
func (l *Label) check() error {
	inserts := l.Kind == "insert" || l.Kind == "replace"
	switch {
	case l.writes() && len(l.Targets) == 0:
		return fmt.Errorf("%s without a target", l.Kind)
	case inserts != slices.Contains(sources, l.Source):
		return fmt.Errorf("%s with source %q", l.Kind, l.Source)
	case (l.Kind == "update") != (l.Set != nil):
		return fmt.Errorf("%s with set %v", l.Kind, l.Set)
	case (l.Kind == "merge") != (l.Whens != nil):
		return fmt.Errorf("%s with %d whens", l.Kind, len(l.Whens))
	case !l.writes() && len(l.Targets) > 0 != slices.Contains(l.Clauses, "lock"):
		return fmt.Errorf("%s with a lock clause and targets %v", l.Kind, l.Targets)
	case (l.Kind == "several") != (l.Parts != nil):
		return fmt.Errorf("%s with parts %v", l.Kind, l.Parts)
	}
	return nil
}
