package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

const (
	// guardMarker is the variable by which capture and phase two tell a guard that it
	// is they who write.
	guardMarker = "@gtx_xid"
	guardUnmark = "SET " + guardMarker + "=NULL"
	// guardAll marks the connections of phase two, which nobody else uses.
	guardAll = "SET " + guardMarker + "='*'"

	// guardPrefix begins the names of its triggers, which are unique in a database.
	guardPrefix = "gtx_guard_"
	// guardHead begins the body of every guard, of any version.
	guardHead = "BEGIN /* guard of globaltx, version "
	// guardHeld begins its refusals, with the XID of the holder behind it.
	guardHeld = "gtx: held by "
	// guardMode and guardCharset are of the session that creates it. Both are kept
	// with a trigger.
	guardMode    = "STRICT_TRANS_TABLES"
	guardCharset = "utf8mb4"

	errSignal = 1644
)

// guardEvents have a trigger each. It fires after the change: see guardBody.
var guardEvents = []struct{ letter, event string }{{"i", "INSERT"}, {"u", "UPDATE"}, {"d", "DELETE"}}

func guardName(id, letter string) string {
	sum := sha256.Sum256([]byte(id))
	return guardPrefix + letter + "_" + hex.EncodeToString(sum[:8])
}

// guardBody is the text of a trigger. Tables are recognised by it: a change needs a
// new version, and the old text must go on being known.
//
// The trigger fires after the change. Then the writer holds the lock of the row, or
// of the key that it made: whoever held it before has committed, with the undo
// row. A trigger that fires before would look while an INSERT is yet to wait for
// the one who deletes the key, and would not know a key of auto_increment.
//
// A read without a lock may show what was there when the transaction began, or an
// earlier row of the same statement was looked at. A read with a lock shows what
// is there; at READ COMMITTED it locks nothing where nothing is there. Above it would
// lock the gap and so hold up the captures of many other rows until the writer
// ends. There the key of the undo row is inserted and deleted again, which fails
// where it is taken and holds up this key only.
//
// What capture writes is marked and goes by: taking the undo row is its own check.
func guardBody(t *undo.Table, event string, mariaDB bool) string {
	isolation := "@@transaction_isolation"
	if mariaDB {
		isolation = "@@tx_isolation"
	}
	row := "gtx_undo WHERE tbl=gtx_t AND keyh=gtx_h"
	look := "(SELECT xid FROM " + row + " LOCK IN SHARE MODE)"
	check := func(ref string) string {
		return `  SET gtx_h=` + keyHash(ref, t) + `;
  IF ` + isolation + ` IN ('READ-COMMITTED','READ-UNCOMMITTED') THEN
   SET gtx_x=` + look + `;
  ELSE
   BEGIN
    DECLARE CONTINUE HANDLER FOR 1062 SET gtx_x='unknown';
    INSERT INTO gtx_undo (tbl,keyh,xid,branch,seq,op,before_img,after_img,schema_fp) VALUES (gtx_t,gtx_h,'',0,0,'I','[]',NULL,'');
   END;
   IF gtx_x IS NULL THEN
    DELETE FROM ` + row + `;
   ELSE
    SET gtx_x=IFNULL(` + look + `,gtx_x);
   END IF;
  END IF;
`
	}
	var checks string
	switch event {
	case "INSERT":
		checks = check("NEW")
	case "DELETE":
		checks = check("OLD")
	default:
		var same []string
		for _, k := range t.Key {
			same = append(same, column("NEW", &t.Columns[k])+"<=>"+column("OLD", &t.Columns[k]))
		}
		checks = check("OLD") + "  IF gtx_x IS NULL AND NOT (" + strings.Join(same, " AND ") + ") THEN\n" + check("NEW") + "  END IF;\n"
	}
	// The catalogue shows a text without the introducers of its literals.
	return guardHead + `1 */
 DECLARE gtx_t VARCHAR(280) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT CONVERT(X'` + hex.EncodeToString([]byte(t.ID)) + `' USING utf8mb4);
 DECLARE gtx_h CHAR(64) CHARACTER SET ascii COLLATE ascii_bin;
 DECLARE gtx_x VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin;
 DECLARE gtx_m VARCHAR(128) CHARACTER SET utf8mb4;
 IF ` + guardMarker + ` IS NULL THEN
` + checks + `  IF gtx_x IS NOT NULL THEN
   SET gtx_m=LEFT(CONCAT('` + guardHeld + `',gtx_x,', a row of ',gtx_t,': roll back, try again later'),128);
   SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT=gtx_m;
  END IF;
 END IF;
END`
}

// isHeld tells that err is the refusal of a guard.
func isHeld(err *mysql.MySQLError) bool {
	return err.Number == errSignal && strings.HasPrefix(err.Message, guardHeld)
}

// mark begins what a packet writes to the user's tables, and unmark ends it: the
// connection goes on to others when the local transaction ends.
func mark(p *packet, xid gtx.XID) {
	p.next()
	p.add("SET ", guardMarker, "='", xid.String(), "'")
}

func unmark(p *packet) {
	p.next()
	p.add(guardUnmark)
}

// cleanUp takes away what a packet that ended with err leaves on the session: the
// marker and the temporary table. A connection where that cannot be known is closed.
func (p *packet) cleanUp(ctx context.Context, c driver.Conn, err error) {
	if errors.Is(err, gtx.ErrUnsupported) || errors.Is(err, driver.ErrSkip) {
		return // nothing was sent
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	text := guardUnmark
	if p.temporary {
		text += "; DROP TEMPORARY TABLE IF EXISTS " + newRowsTable
	}
	if e, ok := c.(driver.ExecerContext); ok {
		// Who may not drop it could not create it.
		if _, err := e.ExecContext(ctx, text, nil); err == nil || (Dialect{}).Classify(err) == undo.Denied {
			return
		}
	}
	_ = c.Close() // what follows finds it closed, and it does not go back to the pool
}

// guardTrigger is a trigger as the catalogue shows it.
type guardTrigger struct{ name, timing, event, body, mode, charset string }

// guardTriggers reads the triggers by our names of one table, or of all.
func guardTriggers(ctx context.Context, q undo.Query, schema, table string) (map[string][]guardTrigger, error) {
	text := "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_STATEMENT, SQL_MODE, CHARACTER_SET_CLIENT" +
		" FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND LEFT(TRIGGER_NAME, 10) = '" + guardPrefix + "'"
	args := []any{schema}
	if table != "" {
		text += " AND EVENT_OBJECT_TABLE = ?"
		args = append(args, table)
	}
	rows, err := q(ctx, text+" ORDER BY EVENT_OBJECT_TABLE, TRIGGER_NAME", args...)
	if err != nil {
		return nil, fmt.Errorf("read guards: %w", err)
	}
	all := map[string][]guardTrigger{}
	for _, r := range rows {
		all[r[0]] = append(all[r[0]], guardTrigger{r[1], r[2], r[3], r[4], r[5], r[6]})
	}
	return all, nil
}

// judgeGuard compares what the catalogue shows with what InstallGuard installs. The
// error says that a trigger by our name is not ours, or does not fit: what it does
// is not known.
func judgeGuard(t *undo.Table, found []guardTrigger) (undo.GuardState, string, error) {
	there := 0
	for _, g := range found {
		if !strings.HasPrefix(g.body, guardHead) {
			return undo.GuardStale, g.name + " is a trigger of somebody else", unsupported(undo.CodeGuardForeign,
				t.ID+" has the trigger "+g.name+", which is not one of globaltx: what it writes is not captured", "rename or drop it")
		}
		fits := false
		for _, e := range guardEvents {
			fits = fits || g.name == guardName(t.ID, e.letter) && g.timing == "AFTER" && g.event == e.event && g.mode == guardMode && g.charset == guardCharset &&
				(g.body == guardBody(t, e.event, false) || g.body == guardBody(t, e.event, true))
		}
		if !fits {
			return undo.GuardStale, "trigger " + g.name + " is not what would be installed now", unsupported(undo.CodeGuardStale,
				"the guard of "+t.ID+" is not what would be installed now: the key or the name of the table has changed, or the trigger", "gtx guard install, or gtx guard remove")
		}
		there++
	}
	if there < len(guardEvents) {
		return undo.GuardPartial, "some of its triggers are missing", nil
	}
	return undo.Guarded, "", nil
}

// guarded judges the guard of a table that readTable has read.
func guarded(ctx context.Context, q undo.Query, t *undo.Table, schema, name string) error {
	found, err := guardTriggers(ctx, q, schema, name)
	if err != nil {
		return err
	}
	_, _, err = judgeGuard(t, found[name])
	return err
}

// Guards reads the triggers by our names in the current database. A user without
// the privilege TRIGGER sees none.
func (Dialect) Guards(ctx context.Context, q undo.Query, id string) ([]undo.Guard, error) {
	var schema, table string
	var err error
	if id != "" {
		if schema, table, err = splitID(id); err != nil {
			return nil, err
		}
	} else {
		rows, err := q(ctx, "SELECT DATABASE()")
		if err != nil {
			return nil, fmt.Errorf("read current database: %w", err)
		}
		schema = rows[0][0]
	}
	found, err := guardTriggers(ctx, q, schema, table)
	if err != nil {
		return nil, err
	}
	var all []undo.Guard
	for _, name := range sortedKeys(found) {
		g := undo.Guard{ID: ident(schema) + "." + ident(name), Name: undo.ShowName(name)}
		t, _, err := readTable(ctx, q, g.ID)
		if err == nil {
			g.State, g.Reason, err = judgeGuard(t, found[name])
		}
		var refused *gtx.UnsupportedError
		switch {
		case errors.As(err, &refused) && g.State == "": // the table itself
			g.State, g.Reason = undo.GuardStale, refused.Reason
		case err != nil && !errors.As(err, &refused):
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}
