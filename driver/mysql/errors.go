package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Numbers of the server's error message reference.
const (
	errAccessDenied    = 1044
	errServerShutdown  = 1053
	errDuplicate       = 1062
	errTableAccess     = 1142
	errColumnAccess    = 1143
	errNoTable         = 1146
	errNetRead         = 1158
	errNetReadTimeout  = 1159
	errNetWrite        = 1160
	errNetWriteTimeout = 1161
	errNotNull         = 1048
	errNoParent        = 1216
	errHasChild        = 1217
	errNoSavepoint     = 1305
	errLockTimeout     = 1205
	errDeadlock        = 1213
	errSpecificAccess  = 1227
	errTruncated       = 1292
	errWrongValue      = 1366
	errDuplicateName   = 1586
	errUnknownLocale   = 1649
	errCheckread       = 1020 // MariaDB with innodb_snapshot_isolation
	errKilled          = 1927 // MariaDB: connection was killed
	errNoWait          = 3572
	errRowHasChild     = 1451
	errRowNoParent     = 1452
	errForeignDup      = 1761
	errForeignDupChild = 1762
	errCheck           = 3819 // MySQL
	errConstraint      = 4025 // MariaDB
	errIdle            = 4031 // MySQL: disconnected because of inactivity
)

// Classify sorts err by the server's number, and by what a broken connection
// leaves. A cancelled context is Lost: go-sql-driver closes the connection then
// and the server may go on with what it was sent.
func (Dialect) Classify(err error) undo.ErrorClass {
	if err == nil {
		return undo.Other
	}
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		if isHeld(my) {
			return undo.Conflict
		}
		return classOf(my.Number)
	}
	var op net.Error
	switch {
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, mysql.ErrMalformPkt),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &op):
		return undo.Lost
	}
	return undo.Other
}

func classOf(number uint16) undo.ErrorClass {
	switch number {
	case errDuplicate, errDuplicateName:
		return undo.Duplicate
	case errLockTimeout, errDeadlock, errNoWait, errCheckread, errXARolledTime, errXARolledLocked:
		return undo.Conflict
	case errNoTable:
		return undo.NoTable
	case errTableAccess, errColumnAccess, errAccessDenied, errSpecificAccess:
		return undo.Denied
	case errNotNull, errNoParent, errHasChild, errRowHasChild, errRowNoParent, errForeignDup, errForeignDupChild, errCheck, errConstraint:
		return undo.Blocked
	case errServerShutdown, errNetRead, errNetReadTimeout, errNetWrite, errNetWriteTimeout, errKilled, errIdle:
		return undo.Lost
	}
	return undo.Other
}

// alarm is a text that the packet of a branch assigns to a number, so that the
// server fails and repeats it: the only way to say why from inside a statement.
// No other packet holds the same text.
func alarm(b gtx.BranchID, what string) string {
	return "gtx:" + strconv.FormatInt(int64(b), 10) + ":" + what
}

// What an alarm says.
const (
	alarmHeld  = "held:" // with the XID of the holder behind it
	alarmDirty = "dirty"
	alarmStray = "stray:" // the statement met a row without an image
	alarmCount = "count"  // of the undo rows
	alarmNoKey = "nokey"  // a query gives no key
	alarmTime  = "time"   // a query gives a time that the session's time zone cannot say
)

// explain turns an error of the packet of r into what Capture promises. Any other
// error comes back unchanged.
func explain(err error, r *packetError) error {
	var my *mysql.MySQLError
	switch {
	case errors.Is(err, driver.ErrSkip):
		return &gtx.UnsupportedError{
			Code: "arguments", Reason: "the arguments cannot be written into the text of the statement: their number or a type is wrong, or they exceed max_allowed_packet",
		}
	case !errors.As(err, &my):
		return err
	case rolledBack(err):
		return fmt.Errorf("the server has rolled the local transaction back: %w (%w)", gtx.ErrConflict, err)
	case my.Number == errWrongValue:
		if _, holder, ok := strings.Cut(my.Message, alarm(r.branch, alarmHeld)); ok {
			holder, _, _ = strings.Cut(holder, "'")
			xid, err := gtx.ParseXID(holder)
			if err != nil {
				return fmt.Errorf("read holder of a row of %s: %w", r.table, err)
			}
			return &gtx.ConflictError{Holder: xid, Table: r.table}
		}
		if strings.Contains(my.Message, alarm(r.branch, alarmDirty)) {
			return fmt.Errorf("row of %s differs from what this global transaction left there: %w", r.table, gtx.ErrDirty)
		}
	case my.Number == errTruncated && strings.Contains(my.Message, alarm(r.branch, alarmStray)):
		return fmt.Errorf("the statement met a row of %s that was not there before it, or that it had inserted itself: %w", r.table, gtx.ErrConflict)
	case my.Number == errUnknownLocale:
		return refusedBy(err, my.Message, r)
	case classOf(my.Number) == undo.Conflict:
		return fmt.Errorf("%w: %w", gtx.ErrConflict, err)
	}
	return err
}

// refusedBy explains an error that refuseIf has made.
func refusedBy(err error, message string, r *packetError) error {
	switch {
	case strings.Contains(message, alarm(r.branch, alarmCount)) && r.raced:
		return fmt.Errorf("what the statement did to %s is not what was captured, by the counts: %w", r.table, gtx.ErrConflict)
	case strings.Contains(message, alarm(r.branch, alarmCount)):
		return fmt.Errorf("what the statement did to %s is not what was captured, by the counts", r.table)
	case strings.Contains(message, alarm(r.branch, alarmNoKey)):
		return fmt.Errorf("the query gives a row for %s with NULL, or 0 for auto_increment, as key, so the new row could not be found", r.table)
	case strings.Contains(message, alarm(r.branch, alarmTime)):
		return fmt.Errorf("the query gives a TIMESTAMP for %s in the hour that the session's time zone repeats, which would be stored as another", r.table)
	}
	return err
}

// packetError says whose packet failed.
type packetError struct {
	branch gtx.BranchID
	table  string
	raced  bool // a writer beside it can make the count fail
}
