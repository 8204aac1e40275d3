package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/proxy"
)

var _ proxy.Alone = alone{}

// alone makes a connection with multiStatements answer as one without.
//
// Most texts with a semicolon show what they are: it ends them, or stands in a
// literal or a comment. They go as they are. Of the others the server tells:
// COM_STMT_PREPARE never takes several statements, whatever the connection's flags.
// What was seen on MySQL 9.7 and MariaDB 10.11:
//
//   - The answer to several statements has the number and the text of that to
//     COM_QUERY without the flag: the text is parsed to its end before anything else
//     is said, so it is 1064 near the second statement also where the first names a
//     table that is not there. The one other text: where a question mark without
//     an argument is in front, COM_QUERY complains of that.
//   - What cannot be prepared (on MySQL CREATE PROCEDURE, CREATE TRIGGER, USE, LOCK
//     TABLES and others) is answered with 1295, and only where it is one statement
//     up to the end of the text: behind the END of a procedure's body DROP TABLE is
//     1064. That holds for comments, labels, versioned comments and NUL bytes, too.
//   - With the flag the server takes whatever is behind a semicolon, even a comment,
//     for another statement, which ends well and affects no row, or, where it is a
//     NUL byte or the end of a versioned comment, is an error. So this semicolon
//     becomes a blank. Of a stored program the server without the flag keeps what
//     stands in front of it, so there the text ends with it. (MySQL keeps that
//     semicolon itself, too, which cannot be had: it runs the same.)
//   - The proof leaves ROW_COUNT, FOUND_ROWS and LAST_INSERT_ID as they were, and on
//     MariaDB the warnings. On MySQL it replaces those, so that a SHOW WARNINGS or GET
//     DIAGNOSTICS that has to be proven shows the proof's.
type alone struct{}

// Text gives text, or text without the semicolon that ends it, or the error that
// several statements are answered with. Where arguments are written into the text
// that error quotes it with question marks.
func (alone) Text(ctx context.Context, c driver.Conn, text string) (string, error) {
	seen := lookForSemicolons(text, true)
	proven := !seen.sure || seen.several || seen.ends > 1
	if proven {
		if err := prove(ctx, c, text); err != nil {
			return "", err
		}
	}
	if seen.ends == 1 {
		return without(text, seen.tail), nil
	}
	if !proven {
		return text, nil
	}
	// A versioned comment that is none for this server may stand behind the end.
	if out := lookForSemicolons(text, false); out.ends == 1 {
		if shorter := without(text, out.tail); prove(ctx, c, shorter) == nil {
			return shorter, nil
		}
	}
	return text, nil
}

// stores tells of a text that may be kept by the server: a procedure, a trigger, an
// event.
var stores = regexp.MustCompile(`(?i)\b(create|alter)\b`)

// without takes away the semicolon at i, behind which are only comments: those that
// carry a trace are still sent, and none is stored.
func without(text string, i int) string {
	if stores.MatchString(text[:i]) {
		return text[:i]
	}
	return text[:i] + " " + text[i+1:]
}

// Error gives what the server says of text, of which err was said after Text had
// changed it: an error of syntax quotes the text. Other answers to the proof are not
// given on: the text may have run, and driver.ErrBadConn would have it run again.
func (alone) Error(ctx context.Context, c driver.Conn, text string, err error) error {
	if !is(err, errSyntax) {
		return err
	}
	if said := prove(ctx, c, text); is(said, errSyntax) {
		return said
	}
	return err
}

// Numbers of errors, the same on both servers.
const (
	errSyntax        = 1064 // ER_PARSE_ERROR
	errNotPreparable = 1295 // ER_UNSUPPORTED_PS
)

func is(err error, number uint16) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && e.Number == number
}

// prove gives the error of the server for a text that is not one statement.
func prove(ctx context.Context, c driver.Conn, text string) error {
	p, ok := c.(driver.ConnPrepareContext)
	if !ok {
		return fmt.Errorf("prepare statement: %T takes no context", c)
	}
	s, err := p.PrepareContext(ctx, text)
	switch {
	case err == nil:
		return s.Close()
	case is(err, errNotPreparable):
		return nil
	case errors.Is(err, driver.ErrBadConn):
		return notSent(ctx, c)
	}
	return err
}

// notSent gives the error of Exec and Query where Prepare of go-sql-driver answers
// driver.ErrBadConn, which would cost the program a connection that is well: the
// text is larger than MaxAllowedPacket, or rows are being read.
func notSent(ctx context.Context, c driver.Conn) error {
	if v, ok := c.(driver.Validator); ok && v.IsValid() {
		return mysql.ErrPktTooLarge
	}
	if p, ok := c.(driver.Pinger); ok {
		if err := p.Ping(ctx); errors.Is(err, mysql.ErrBusyBuffer) {
			return err
		}
	}
	return driver.ErrBadConn
}
