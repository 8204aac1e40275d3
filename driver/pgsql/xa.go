package pgsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

var _ xa.Dialect = XA{}

// XA prepares transactions of PostgreSQL 14 and newer. docs/xa-facts.md has what it
// relies on. Its texts have no arguments, so both base drivers send them as one simple
// query, however many statements they hold.
type XA struct{}

// XA gives the dialect of prepared branches.
func (Dialect) XA() xa.Dialect { return XA{} }

// Before whatever ends a branch stands what fails outside a transaction and in a failed
// one: there PREPARE TRANSACTION and COMMIT roll back and report no error.
const stillOpen = "SAVEPOINT gtx_prepare; "

// Whoever prepares owns the branch, and nobody else but a superuser ends it: with SET ROLE
// that would be a role that phase two does not have. What is deferred runs before, as who
// did the work.
const asConnected = "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL role TO DEFAULT; "

// What a look raises, as a text that is no number.
const (
	alarmHeld     = "gtx:held"
	alarmSnapshot = "gtx:snapshot: give the isolation level to BeginTx"
)

// Begin names both modes, so that no default of the session counts.
func (XA) Begin(n xa.Name, opts driver.TxOptions) ([]string, error) {
	if err := n.Check(); err != nil {
		return nil, err
	}
	levels := map[driver.IsolationLevel]string{ // by sql.IsolationLevel
		0: "", 1: " ISOLATION LEVEL READ UNCOMMITTED", 2: " ISOLATION LEVEL READ COMMITTED",
		4: " ISOLATION LEVEL REPEATABLE READ", 6: " ISOLATION LEVEL SERIALIZABLE",
	}
	level, ok := levels[opts.Isolation]
	if !ok {
		return nil, fmt.Errorf("begin postgres branch: isolation level %d is not supported", opts.Isolation)
	}
	if opts.ReadOnly {
		return []string{"BEGIN" + level + " READ ONLY"}, nil
	}
	return []string{"BEGIN" + level + " READ WRITE"}, nil
}

// Prepare looks and prepares in one packet. Above READ COMMITTED the look would see what
// was there when the transaction began, and raises the alarm, too.
func (XA) Prepare(n xa.Name, look string) string {
	text := stillOpen + asConnected
	if look != "" {
		text += "SELECT CAST(CASE WHEN pg_catalog.current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN '" + alarmSnapshot +
			"' WHEN EXISTS (" + look + ") THEN '" + alarmHeld + "' ELSE '0' END AS pg_catalog.int4); "
	}
	return text + "PREPARE TRANSACTION '" + n.String() + "'"
}

// Held finds the alarms of Prepare.
func (XA) Held(err error) bool {
	return stateOf(err) == "22P02" && (strings.Contains(err.Error(), alarmHeld) || strings.Contains(err.Error(), alarmSnapshot))
}

// Commit gives one packet.
func (XA) Commit(xa.Name) string { return stillOpen + "COMMIT" }

// Rollback gives one statement.
func (XA) Rollback(xa.Name) []string { return []string{"ROLLBACK"} }

// End gives one statement, which must stand alone outside a transaction.
func (XA) End(n xa.Name, commit bool) string {
	if commit {
		return "COMMIT PREPARED '" + n.String() + "'"
	}
	return "ROLLBACK PREPARED '" + n.String() + "'"
}

// List reads pg_prepared_xacts, of this database only: the names of another one could
// not be ended here.
func (XA) List(ctx context.Context, q undo.Query, database gtx.ResourceID) ([]xa.Name, error) {
	rows, err := q(ctx, "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() AND gid LIKE 'gtx:%'")
	if err != nil {
		return nil, fmt.Errorf("read pg_prepared_xacts: %w", err)
	}
	var out []xa.Name
	for _, r := range rows {
		if n, ok := xa.Parse(r[0]); ok && n.Database == database {
			out = append(out, n)
		}
	}
	return out, nil
}

// Again is true for a name that does not exist, and for one that somebody else is just
// ending.
func (XA) Again(err error) bool {
	state := stateOf(err)
	return state == "42704" || state == "55000" // undefined_object, object_not_in_prerequisite_state
}

// RolledBack is true for every error of the server but those that end the session: a
// transaction that could not be prepared has been rolled back, or can do nothing else.
func (XA) RolledBack(err error) bool {
	state := stateOf(err)
	return state != "" && !strings.HasPrefix(state, "57P") && !strings.HasPrefix(state, "XX") && Dialect{}.Classify(err) != undo.Lost
}

// stateOf gives the SQLSTATE of a server's error, else "".
func stateOf(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

// Check reads settings. full counts the prepared transactions of all databases, which
// share the room.
func (XA) Check(ctx context.Context, q undo.Query, full bool) (xa.Ability, error) {
	_, _, err := room(ctx, q, full)
	return xa.Ability{}, err
}

// room gives the number of transactions that can be prepared at a time, and of those
// that are, 0 where they are not asked for.
func room(ctx context.Context, q undo.Query, count bool) (limit, taken int, err error) {
	text := "SELECT pg_catalog.current_setting('max_prepared_transactions'), pg_catalog.current_setting('default_transaction_read_only')," +
		" pg_catalog.pg_is_in_recovery()::text, 0"
	if count {
		text = strings.TrimSuffix(text, "0") + "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts)"
	}
	rows, err := q(ctx, text)
	if err != nil {
		return 0, 0, fmt.Errorf("read settings: %w", err)
	}
	if len(rows) != 1 || len(rows[0]) != 4 {
		return 0, 0, errors.New("read settings: not one line of four columns")
	}
	limit, err = strconv.Atoi(rows[0][0])
	if err != nil {
		return 0, 0, fmt.Errorf("read max_prepared_transactions: %w", err)
	}
	if taken, err = strconv.Atoi(rows[0][3]); err != nil {
		return 0, 0, fmt.Errorf("count prepared transactions: %w", err)
	}
	return limit, taken, unprepared(limit, taken, isTrue(rows[0][2]), rows[0][1] == "on")
}

// unprepared says why nothing can be prepared, nil where it can.
func unprepared(limit, taken int, standby, readOnly bool) error {
	no := &gtx.UnsupportedError{Code: "prepare"}
	switch {
	case standby: // rule A2
		no.Reason, no.Hint = "the server is a standby", "connect to the primary"
	case readOnly:
		no.Reason, no.Hint = "default_transaction_read_only is on", "turn it off for this user"
	case limit == 0:
		no.Reason = "max_prepared_transactions is 0, so the server prepares nothing"
		no.Hint = "set max_prepared_transactions to max_connections or more, and restart the server"
	case taken >= limit:
		no.Reason = fmt.Sprintf("all %d places of max_prepared_transactions are taken, by all databases of the server", limit)
		no.Hint = "end what was left in pg_prepared_xacts, or set max_prepared_transactions higher and restart the server"
	default:
		return nil
	}
	return no
}

// prepareFinding tells whether mode XA would be refused.
func prepareFinding(ctx context.Context, q undo.Query) (undo.Finding, error) {
	limit, taken, err := room(ctx, q, true)
	f := undo.Finding{Name: "prepare", Level: undo.Info, Value: fmt.Sprintf("%d of %d free", limit-taken, limit), Reason: "modes XA and 3PC"}
	var no *gtx.UnsupportedError
	switch {
	case errors.As(err, &no):
		f.Level, f.Value, f.Reason, f.Hint = undo.Warn, "refused", "modes XA and 3PC: "+no.Reason, no.Hint
	case err != nil:
		return f, err
	}
	return f, nil
}
