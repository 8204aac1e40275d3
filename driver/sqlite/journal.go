package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// The journal is a table of the connection that temporary triggers on the user's
// table fill while one statement runs, one line for each row that it changes, in
// the order of the changes. So the user's text runs once and as it is, and every
// way to a row is seen, also a row that REPLACE deletes. The triggers are there
// during that statement only.
//
//	n      order
//	op     I, U, D
//	okey, oident, oimg   key image, key identity and full image before (U, D)
//	nkey, nident         key image and key identity after (I, U)
var journalTable = []string{
	"CREATE TEMP TABLE IF NOT EXISTS gtx_journal (n INTEGER PRIMARY KEY, op, okey, oident, oimg, nkey, nident)",
	"DELETE FROM temp.gtx_journal",
}

var dropJournal = []string{
	"DROP TRIGGER temp.gtx_journal_i", "DROP TRIGGER temp.gtx_journal_u", "DROP TRIGGER temp.gtx_journal_d",
}

// journalTriggers read the new key from the table: NEW may show a value before
// the column's affinity is applied. A row that they do not find there is missed
// in the count of lines.
func journalTriggers(t *undo.Table) []string {
	var found []string
	for _, i := range t.Key {
		found = append(found, matches(t, "d", i, column(t, "NEW", i)))
	}
	create := func(suffix, event, columns, values string) string {
		return "CREATE TEMP TRIGGER gtx_journal_" + suffix + " AFTER " + event + " ON " + t.Name +
			" BEGIN INSERT INTO gtx_journal (op, " + columns + ") SELECT " + values + "; END"
	}
	before := keyImage(t, "OLD") + ", " + keyIdentity(t, "OLD") + ", " + fullImage(t, "OLD")
	after := keyImage(t, "d") + ", " + keyIdentity(t, "d") + " FROM " + t.Name + " AS d WHERE " + strings.Join(found, " AND ")
	return []string{
		create("i", "INSERT", "nkey, nident", "'I', "+after),
		create("u", "UPDATE", "okey, oident, oimg, nkey, nident", "'U', "+before+", "+after),
		create("d", "DELETE", "okey, oident, oimg", "'D', "+before),
	}
}

// event is one line of the journal.
type event struct {
	op                 undo.Op
	okey, oident, oimg string
	nkey, nident       string
}

// journal runs the user's statement under the journal and captures what it did.
// After a statement that failed the journal shows what is left of it: nothing, or
// under FAIL the rows before the one that broke a constraint, which are captured.
func (s *capture) journal(ctx context.Context) (out *proxy.Captured, err error) {
	if s.Stmt.Or == sqltext.OrReplace {
		restore, err := s.seeReplaced(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	for _, text := range append(journalTable, journalTriggers(s.Table)...) {
		if err := s.exec(ctx, text); err != nil {
			return nil, wrap("open journal", err)
		}
	}
	rows, _, failure := s.drain(ctx, s.Stmt.Text, false)
	if failure != nil && !s.own(ctx, failure) {
		return nil, userError(failure)
	}
	changed, err := s.number(ctx, "SELECT changes()")
	if err != nil {
		return nil, err
	}
	for _, text := range dropJournal {
		if err := s.exec(ctx, text); err != nil {
			return nil, wrap("close journal", err)
		}
	}
	events, err := s.events(ctx)
	if err != nil {
		return nil, err
	}
	if failure != nil && len(events) == 0 {
		s.failed, s.settled = true, true
		return nil, userError(failure)
	}
	if err := s.accounted(events, changed); err != nil {
		return nil, err
	}
	if err := s.writeNet(ctx, events); err != nil {
		return nil, err
	}
	if failure != nil {
		s.failed, s.settled = true, true
		return nil, userError(failure)
	}
	return s.captured(ctx, changed, rows)
}

// seeReplaced makes delete triggers run for the rows that REPLACE deletes.
func (s *capture) seeReplaced(ctx context.Context) (restore func() error, err error) {
	const ask = "PRAGMA recursive_triggers"
	was, err := s.number(ctx, ask)
	if err != nil || was == 1 {
		return func() error { return nil }, err
	}
	if err := s.exec(ctx, ask+" = ON"); err != nil {
		return nil, wrap("see replaced rows", err)
	}
	if is, err := s.number(ctx, ask); err != nil || is != 1 {
		return nil, errors.Join(errors.New("see replaced rows: triggers cannot be made recursive"), err)
	}
	return func() error {
		if err := s.exec(context.WithoutCancel(ctx), ask+" = OFF"); err != nil {
			return wrap("set triggers back", err)
		}
		return nil
	}, nil
}

// events reads the journal and empties it.
func (s *capture) events(ctx context.Context) ([]event, error) {
	lines, err := s.texts(ctx, "SELECT op, okey, oident, oimg, nkey, nident FROM temp.gtx_journal ORDER BY n", nil)
	if err != nil {
		return nil, wrap("read journal", err)
	}
	if err := s.exec(ctx, "DELETE FROM temp.gtx_journal"); err != nil {
		return nil, wrap("empty journal", err)
	}
	events := make([]event, len(lines))
	for i, l := range lines {
		events[i] = event{op: undo.Op(l[0]), okey: l[1], oident: l[2], oimg: l[3], nkey: l[4], nident: l[5]}
	}
	return events, nil
}

// accounted compares the journal with the count of changed rows, in which SQLite
// has no rows that REPLACE deleted.
func (s *capture) accounted(events []event, changed int64) error {
	n := map[undo.Op]int64{}
	for _, e := range events {
		n[e.op]++
	}
	var seen int64
	var ok bool
	switch s.Stmt.Kind {
	case sqltext.Insert:
		seen = n[undo.Insert] + n[undo.Update]
		ok = n[undo.Delete] == 0 || s.Stmt.Or == sqltext.OrReplace
	case sqltext.Update:
		seen = n[undo.Update]
		ok = n[undo.Insert] == 0 && (n[undo.Delete] == 0 || s.Stmt.Or == sqltext.OrReplace)
	default:
		seen = n[undo.Delete]
		ok = n[undo.Insert]+n[undo.Update] == 0
	}
	if !ok || seen != changed {
		return fmt.Errorf("capture statement on %s: %d rows were changed, and %d inserts, %d updates, %d deletes were seen (is there NULL in a key?)",
			s.Table.ID, changed, n[undo.Insert], n[undo.Update], n[undo.Delete])
	}
	return nil
}
