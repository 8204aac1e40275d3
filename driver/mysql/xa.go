package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

var (
	_ xa.Dialect  = XA{}
	_ xa.Attacher = XA{}
)

// Numbers of the server's error message reference that are about XA.
const (
	errXAUnknown      = 1397 // XAER_NOTA
	errXAState        = 1399 // XAER_RMFAIL, with the state in its message
	errXAOutside      = 1400 // XAER_OUTSIDE
	errXARecover      = 1401 // XAER_RMERR: MySQL, for XA RECOVER without the privilege
	errXARolledBack   = 1402 // XA_RBROLLBACK
	errXARolledTime   = 1613 // XA_RBTIMEOUT
	errXARolledLocked = 1614 // XA_RBDEADLOCK
)

// rollbackOnly is the state of a branch that the server has rolled back, and that
// wants XA ROLLBACK. The names of the states are not translated.
const rollbackOnly = "ROLLBACK ONLY"

// alarmUnprepared is what Prepare assigns where its look gives a row, see refuseIf.
const alarmUnprepared = "gtx:held:unprepared"

// XA prepares branches of MySQL 8.0.29 and newer and MariaDB 10.6 and newer. docs/xa-facts.md
// has what it relies on. Connections must have been opened with MultiStatements.
type XA struct{}

// XA gives the dialect of prepared branches.
func (Dialect) XA() xa.Dialect { return XA{} }

// nameOf is the xid of the statements: gtrid, bqual and formatID.
func nameOf(n xa.Name) string {
	return "'" + n.Global() + "','" + n.Qualifier() + "'," + strconv.Itoa(xa.FormatID)
}

// Begin gives one text. SET TRANSACTION, as the base driver uses it, is for the next
// transaction of the session, also when XA START begins it.
func (XA) Begin(n xa.Name, opts driver.TxOptions) ([]string, error) {
	if err := n.Check(); err != nil {
		return nil, err
	}
	levels := map[driver.IsolationLevel]string{ // by sql.IsolationLevel
		0: "", 1: "ISOLATION LEVEL READ UNCOMMITTED", 2: "ISOLATION LEVEL READ COMMITTED",
		4: "ISOLATION LEVEL REPEATABLE READ", 6: "ISOLATION LEVEL SERIALIZABLE",
	}
	level, ok := levels[opts.Isolation]
	if !ok {
		return nil, fmt.Errorf("begin mysql branch: isolation level %d is not supported", opts.Isolation)
	}
	var set []string
	if level != "" {
		set = append(set, level)
	}
	if opts.ReadOnly {
		set = append(set, "READ ONLY")
	}
	text := "XA START " + nameOf(n)
	if len(set) > 0 {
		text = "SET TRANSACTION " + strings.Join(set, ", ") + ";" + text
	}
	return []string{text}, nil
}

// Prepare gives one packet: where XA END fails, the server does not go on. The look
// is a locking read in a SET, as for refuseIf.
func (XA) Prepare(n xa.Name, look string) string {
	text := "XA END " + nameOf(n) + ";XA PREPARE " + nameOf(n)
	if look != "" {
		text = "SET SESSION lc_time_names=IF(EXISTS(" + look + "),'" + alarmUnprepared + "',@@lc_time_names);" + text
	}
	return text
}

// Held finds the alarm of Prepare.
func (XA) Held(err error) bool {
	var my *mysql.MySQLError
	return errors.As(err, &my) && my.Number == errUnknownLocale && strings.Contains(my.Message, alarmUnprepared)
}

// Commit gives one packet.
func (XA) Commit(n xa.Name) string {
	return "XA END " + nameOf(n) + ";XA COMMIT " + nameOf(n) + " ONE PHASE"
}

// Rollback ends the branch first: that fails where it has ended, and where the server
// has rolled it back.
func (XA) Rollback(n xa.Name) []string {
	return []string{"XA END " + nameOf(n), "XA ROLLBACK " + nameOf(n)}
}

// End gives one statement.
func (XA) End(n xa.Name, commit bool) string {
	if commit {
		return "XA COMMIT " + nameOf(n)
	}
	return "XA ROLLBACK " + nameOf(n)
}

// List reads what XA RECOVER gives of the whole server. Names of other programs hold
// any bytes.
func (XA) List(ctx context.Context, q undo.Query, database gtx.ResourceID) ([]xa.Name, error) {
	rows, err := q(ctx, "XA RECOVER")
	if err != nil {
		return nil, fmt.Errorf("ask for prepared branches: %w", err)
	}
	var out []xa.Name
	for _, r := range rows {
		if n, ok := recovered(r); ok && n.Database == database {
			out = append(out, n)
		}
	}
	return out, nil
}

// recovered reads a line of XA RECOVER: formatID, the lengths of gtrid and bqual, and
// both as one text.
func recovered(line []string) (xa.Name, bool) {
	if len(line) != 4 || line[0] != strconv.Itoa(xa.FormatID) {
		return xa.Name{}, false
	}
	global, err := strconv.Atoi(line[1])
	qualifier, err2 := strconv.Atoi(line[2])
	if err != nil || err2 != nil || global < 0 || qualifier < 0 || len(line[3]) != global+qualifier {
		return xa.Name{}, false
	}
	return xa.ParseParts(line[3][:global], line[3][global:])
}

// Again is true for an unknown name, for a session that has work of its own, and for
// a branch of MariaDB that had changed nothing when its session went: the server
// rolls that one back, lists it until somebody asks, and answers so.
func (XA) Again(err error) bool {
	switch numberOf(err) {
	case errXAUnknown, errXAState, errXAOutside, errXARolledBack, errXARolledTime, errXARolledLocked:
		return true
	}
	return false
}

// RolledBack is true for what XA END says of a branch that is lost already, and for
// what the server rolls back itself when XA PREPARE fails: it could not write, or
// waited too long for FLUSH TABLES WITH READ LOCK.
func (x XA) RolledBack(err error) bool {
	switch numberOf(err) {
	case errXARolledBack, errXARolledTime, errXARolledLocked, errLockTimeout, errDeadlock:
		return true
	case errXAState:
		return strings.Contains(err.Error(), rollbackOnly)
	}
	return x.Held(err)
}

// numberOf gives the server's number, 0 for another error.
func numberOf(err error) uint16 {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return my.Number
	}
	return 0
}
