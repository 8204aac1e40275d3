package inbox

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// store is the SQL of one inbox. Names and ids stand in the text of the statements that
// each message needs (see unsafeInID): without arguments they take one round trip with
// every driver.
type store struct {
	db       *sql.DB
	d        undo.Dialect
	n        names
	consumer string
	utf8     bool // the database holds every text
}

// execer is a *sql.DB or a *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func now() int64 { return time.Now().UnixMicro() }

// text puts the dialect's placeholders in place of question marks.
func (s *store) text(q string) string { return undo.Markers(s.d, q) }

func (s *store) key(id string) string {
	return "consumer = '" + s.consumer + "' AND id = '" + id + "'"
}

// lit is a literal of text, the same whatever character set the session has: PostgreSQL
// reads a statement in it, and in some of them a quote may end a character. An error must be
// stored, else its message is never put aside: a database of PostgreSQL that does not hold
// every text gets ASCII.
func (s *store) lit(text string) string {
	switch s.d.Name() {
	case "mysql":
		return "_utf8mb4 X'" + hex.EncodeToString([]byte(text)) + "'"
	case "postgres":
		return "pg_catalog.convert_from(pg_catalog.decode('" + hex.EncodeToString([]byte(s.storable(text))) + "', 'hex'), 'UTF8')"
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// storable is text as the database can hold it.
func (s *store) storable(text string) string {
	if s.utf8 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// read gives the bytes of a column of text, whatever character set the session has.
func (s *store) read(column string) string {
	if s.d.Name() == "postgres" {
		return "pg_catalog.convert_to(" + column + ", 'UTF8')"
	}
	return column
}

// take inserts the row of a message, or says errTaken. An insert of another session that
// has not committed is waited for.
func (s *store) take(ctx context.Context, tx execer, id string, state int, xid string) error {
	text := "INSERT INTO " + s.n.inbox + " (consumer, id, at, state, xid) VALUES ('" + s.consumer + "', '" + id + "', " +
		strconv.FormatInt(now(), 10) + ", " + strconv.Itoa(state) + ", '" + xid + "')"
	if s.d.Name() != "mysql" {
		// A duplicate key would end the transaction on PostgreSQL, and be logged there.
		text += " ON CONFLICT (consumer, id) DO NOTHING"
	}
	res, err := tx.ExecContext(ctx, text)
	if err != nil {
		if s.d.Classify(err) == undo.Duplicate {
			return errTaken
		}
		return fmt.Errorf("insert inbox row: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("insert inbox row: %w", err)
	}
	if n == 0 {
		return errTaken
	}
	return nil
}

// state reads what became of a message. found is false where it has no row; errOpen where
// the global transaction that has written the row is not decided.
func (s *store) state(ctx context.Context, id string) (state int, found bool, err error) {
	var xid string
	err = s.db.QueryRowContext(ctx, "SELECT state, xid FROM "+s.n.inbox+" WHERE "+s.key(id)).Scan(&state, &xid)
	var open int
	if err == nil && xid != "" {
		// One statement, so one snapshot: an abort removes the row together with the
		// undo rows of its transaction, a commit only those.
		err = s.db.QueryRowContext(ctx, "SELECT i.state, (SELECT count(*) FROM "+s.n.undo+" u WHERE u.xid = i.xid) FROM "+s.n.inbox+" i WHERE "+s.key(id)).Scan(&state, &open)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read inbox row: %w", err)
	case open > 0:
		return 0, false, errOpen
	}
	return state, true, nil
}

// still holds that the local transaction has the row: MySQL ends the whole of it after a
// deadlock, and goes on without one when the handler has taken the error for nothing. The
// driver sees to it in a branch of a global transaction.
func (s *store) still(ctx context.Context, tx *sql.Tx, id string) error {
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+s.n.inbox+" WHERE "+s.key(id)).Scan(&n); err != nil {
		return fmt.Errorf("look for inbox row: %w", err)
	}
	if n == 0 {
		return errRolledBack
	}
	return nil
}

var errRolledBack = fmt.Errorf("the server has rolled back the local transaction of the handler, which did not return its error: %w", gtx.ErrConflict)

// count adds by to the tries of a message, keeps what was wrong with the last one where
// cause is "", and gives the sum.
func (s *store) count(ctx context.Context, id string, by int, cause string) (tries int, err error) {
	text := "INSERT INTO " + s.n.try + " (consumer, id, tries, error, at) VALUES ('" + s.consumer + "', '" + id + "', " + strconv.Itoa(by) + ", " + s.lit(cause) + ", " + strconv.FormatInt(now(), 10) + ")"
	set := " UPDATE SET tries = gtx_inbox_try.tries + excluded.tries, at = excluded.at, error = CASE WHEN excluded.error = '' THEN gtx_inbox_try.error ELSE excluded.error END"
	if s.d.Name() == "mysql" {
		text += " ON DUPLICATE KEY UPDATE tries = tries + VALUES(tries), at = VALUES(at), error = IF(VALUES(error) = '', error, VALUES(error))"
	} else {
		text += " ON CONFLICT (consumer, id) DO" + set
	}
	if _, err := s.db.ExecContext(ctx, text); err != nil {
		return 0, fmt.Errorf("count try: %w", err)
	}
	if err := s.db.QueryRowContext(ctx, "SELECT tries FROM "+s.n.try+" WHERE "+s.key(id)).Scan(&tries); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read number of tries: %w", err)
	}
	return tries, nil
}

// lastError is what the last try of a message that failed has said.
func (s *store) lastError(ctx context.Context, id string) (string, error) {
	var text string
	err := s.db.QueryRowContext(ctx, "SELECT "+s.read("error")+" FROM "+s.n.try+" WHERE "+s.key(id)).Scan(&text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read error of the last try: %w", err)
	}
	return text, nil
}

// forget removes the count of tries.
func (s *store) forget(ctx context.Context, tx execer, id string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+s.n.try+" WHERE "+s.key(id)); err != nil {
		return fmt.Errorf("delete count of tries: %w", err)
	}
	return nil
}

// bury writes the dead letter of a message whose row is taken.
func (s *store) bury(ctx context.Context, tx *sql.Tx, m *Message, cause string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+s.n.dead+" WHERE "+s.key(m.ID)); err != nil {
		return fmt.Errorf("delete dead message: %w", err)
	}
	body := m.Body
	if body == nil {
		body = []byte{} // not NULL
	}
	_, err := tx.ExecContext(ctx, s.text("INSERT INTO "+s.n.dead+" (consumer, id, subject, header, body, error, at, deliveries, sent, replay) VALUES (?, ?, ?, ?, ?, "+s.lit(cause)+", ?, ?, 0, 0)"),
		s.consumer, m.ID, []byte(m.Subject), encodeHeader(m.Header), body, now(), int64(m.Deliveries))
	if err != nil {
		return fmt.Errorf("insert dead message: %w", err)
	}
	return nil
}

// bar has a message whose row is taken never take effect.
func (s *store) bar(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, "UPDATE "+s.n.inbox+" SET state = "+strconv.Itoa(stateBarred)+" WHERE "+s.key(id)); err != nil {
		return fmt.Errorf("bar message: %w", err)
	}
	return nil
}

// committed refuses sessions that see what is not committed: a delivery that is under way
// would look like one that has taken effect.
func (s *store) committed(ctx context.Context) error {
	if s.d.Name() != "mysql" {
		return nil
	}
	lines, err := undo.QueryDB(s.db)(ctx, "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation') AND Value = 'READ-UNCOMMITTED'")
	if err != nil {
		return fmt.Errorf("look at the session: %w", err)
	}
	if len(lines) > 0 {
		return errors.New("the sessions of this database are at READ UNCOMMITTED: set another isolation level in the DSN")
	}
	return nil
}

// encoding asks which texts the database can hold.
func (s *store) encoding(ctx context.Context) error {
	if s.utf8 = s.d.Name() != "postgres"; s.utf8 {
		return nil
	}
	err := s.db.QueryRowContext(ctx, "SELECT pg_catalog.current_setting('server_encoding') IN ('UTF8', 'SQL_ASCII')").Scan(&s.utf8)
	if err != nil {
		return fmt.Errorf("read the encoding of the database: %w", err)
	}
	return nil
}

// begin is for work of the inbox itself. Not at REPEATABLE READ, where MySQL locks gaps.
func (s *store) begin(ctx context.Context) (*sql.Tx, error) {
	var o sql.TxOptions
	if s.d.Name() != "sqlite" {
		o.Isolation = sql.LevelReadCommitted
	}
	tx, err := s.db.BeginTx(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("begin local transaction: %w", err)
	}
	return tx, nil
}
