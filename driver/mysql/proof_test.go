package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	base "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
)

// TestBareStored: what the server keeps of a text is what it keeps of the program's,
// but for a semicolon that MySQL has at its end.
func TestBareStored(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE b (id int PRIMARY KEY)")
		kept := func(tr *transcriber, text, show string) []string {
			seen := tr.do(script{text: text}, "exec")
			seen = append(seen, tr.do(script{text: show}, "query")...)
			tr.drop(text)
			return seen
		}
		for text, show := range map[string]string{
			"CREATE PROCEDURE p() SELECT 1; -- c":                                   "SELECT TRIM(TRAILING ';' FROM ROUTINE_DEFINITION) FROM information_schema.ROUTINES WHERE ROUTINE_NAME = 'p' AND ROUTINE_SCHEMA = DATABASE()",
			"CREATE PROCEDURE p() BEGIN SELECT 1; END; -- c\n":                      "SELECT TRIM(TRAILING ';' FROM ROUTINE_DEFINITION) FROM information_schema.ROUTINES WHERE ROUTINE_NAME = 'p' AND ROUTINE_SCHEMA = DATABASE()",
			"CREATE PROCEDURE p() BEGIN SELECT ';'; END /* ; */":                    "SELECT TRIM(TRAILING ';' FROM ROUTINE_DEFINITION) FROM information_schema.ROUTINES WHERE ROUTINE_NAME = 'p' AND ROUTINE_SCHEMA = DATABASE()",
			"CREATE FUNCTION p() RETURNS int RETURN 1; /* c */":                     "SELECT TRIM(TRAILING ';' FROM ROUTINE_DEFINITION) FROM information_schema.ROUTINES WHERE ROUTINE_NAME = 'p' AND ROUTINE_SCHEMA = DATABASE()",
			"CREATE TRIGGER p BEFORE INSERT ON b FOR EACH ROW SET NEW.id = 1; -- c": "SELECT TRIM(TRAILING ';' FROM ACTION_STATEMENT) FROM information_schema.TRIGGERS WHERE TRIGGER_NAME = 'p' AND TRIGGER_SCHEMA = DATABASE()",
			"CREATE EVENT p ON SCHEDULE EVERY 1 DAY DO SELECT 1; # c":               "SELECT TRIM(TRAILING ';' FROM EVENT_DEFINITION) FROM information_schema.EVENTS WHERE EVENT_NAME = 'p' AND EVENT_SCHEMA = DATABASE()",
			"CREATE VIEW p AS SELECT 1 + 1, 'a;'; -- c":                             "SHOW CREATE VIEW p",
			"CREATE TABLE p (id int, k int AS (id + 1 ) COMMENT ';'); -- c":         "SHOW CREATE TABLE p",
		} {
			bare, ours := newTranscriber(t, "mysql", d.dsn("")), newTranscriber(t, "gtx-mysql", d.dsn(""))
			if diff := cmp.Diff(kept(bare, text, show), kept(ours, text, show)); diff != "" {
				t.Errorf("%s: %s", text, diff)
			}
		}
	})
}

// TestBareLooksBack: the proof does not disturb the counts of the statement before.
func TestBareLooksBack(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		bare, ours := newTranscriber(t, "mysql", d.dsn("")), newTranscriber(t, "gtx-mysql", d.dsn(""))
		for _, before := range []string{
			"INSERT INTO b (s) VALUES ('z'), ('y')", "SELECT SQL_CALC_FOUND_ROWS id FROM b LIMIT 1", "UPDATE b SET s = 'k'",
		} {
			for _, text := range []string{
				`SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID(), 'it\'s;'`, "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID(); /*!999999 */",
			} {
				if lookForSemicolons(text, true).sure {
					t.Fatalf("%s needs no proof", text)
				}
				s := script{before: []string{before}, text: text}
				if diff := cmp.Diff(bare.run(s, "query"), ours.run(s, "query")); diff != "" {
					t.Errorf("%s; %s: %s", before, text, diff)
				}
			}
		}
	})
}

// TestBareNotSent: what the base driver does not send is answered as it answers.
func TestBareNotSent(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		bare, ours := newTranscriber(t, "mysql", d.dsn("maxAllowedPacket=4096")), newTranscriber(t, "gtx-mysql", d.dsn("maxAllowedPacket=4096"))
		for _, text := range []string{"SELECT 1; SELECT 2", `SELECT 'it\'s;'`} {
			large := script{text: text + " -- " + strings.Repeat("x", 5000)}
			for _, way := range []string{"query", "exec"} {
				if diff := cmp.Diff(bare.do(large, way), ours.do(large, way)); diff != "" {
					t.Errorf("%s %s, too large: %s", way, text, diff)
				}
			}
			if got := ours.do(script{text: "SELECT 1"}, "query"); !strings.HasPrefix(got[len(got)-1], "end: <nil>") {
				t.Errorf("afterwards: %q", got)
			}
		}
	})
}

// unable is a connection that cannot prepare: Prepare of go-sql-driver says no more
// than driver.ErrBadConn.
type unable struct {
	driver.Conn
	valid bool
	ping  error
}

func (unable) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return nil, driver.ErrBadConn
}

func (c unable) IsValid() bool { return c.valid }

func (c unable) Ping(context.Context) error { return c.ping }

// TestAloneNotSent: why nothing was sent is told as Exec and Query tell it.
func TestAloneNotSent(t *testing.T) {
	for _, c := range []struct {
		conn unable
		want error
	}{
		{unable{valid: true}, base.ErrPktTooLarge},
		{unable{ping: base.ErrBusyBuffer}, base.ErrBusyBuffer},
		{unable{ping: driver.ErrBadConn}, driver.ErrBadConn},
		{unable{}, driver.ErrBadConn},
	} {
		if send, err := (alone{}).Text(t.Context(), c.conn, "SELECT 1; SELECT 2"); !errors.Is(err, c.want) || send != "" {
			t.Errorf("%+v: got %q, %v, want %v", c.conn, send, err, c.want)
		}
	}
}

// TestAloneErrorLost: a text that has run is not sent again because its error could
// not be looked at: database/sql would do so after driver.ErrBadConn.
func TestAloneErrorLost(t *testing.T) {
	said := &base.MySQLError{Number: errSyntax, Message: "in a procedure that has written"}
	if err := (alone{}).Error(t.Context(), unable{ping: driver.ErrBadConn}, "CALL p(); -- c", said); !errors.Is(err, said) || errors.Is(err, driver.ErrBadConn) {
		t.Errorf("got %v, want %v", err, said)
	}
}
