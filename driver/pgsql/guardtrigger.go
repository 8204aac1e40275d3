package pgsql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

const (
	// guardMarker is the setting by which capture and phase two tell a guard who
	// writes: an XID, or guardAll. It is local to a transaction, so that neither a
	// pool of the program nor one in between can hand it on.
	guardMarker = "gtx.xid"
	guardAll    = "*"

	// guardState is the SQLSTATE of a refusal: class 55, "object not in prerequisite
	// state", with a code of our own.
	guardState = "55GTX"

	guardRow      = "gtx_guard"
	guardTruncate = "gtx_guard_truncate"
)

// guardRow and guardTruncate by their parts: pg_trigger.tgtype, when they fire.
var guardTriggers = []struct{ name, tgtype, event string }{
	{guardRow, "29", "AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW"},
	{guardTruncate, "34", "BEFORE TRUNCATE ON %s FOR EACH STATEMENT"},
}

// guardHead begins the function of every guard, of any version.
const guardHead = "-- guard of globaltx, version "

// mark is a number, 0, whose evaluation marks the local transaction. xid is an
// expression.
func mark(xid string) string {
	return "CASE WHEN pg_catalog.set_config('" + guardMarker + "', " + xid + ", true) IS NOT NULL THEN 0::int8 END"
}

// guardFunc is the function of the guard of the table with this ID.
func guardFunc(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "gtx_guard_" + hex.EncodeToString(sum[:8])
}

// guardBody is the function's text. Tables are recognised by it: a change needs a
// new version, and the old text must go on being known.
//
// The row trigger fires after the change. Then the writer holds the lock of the
// row, or of the key that it made: whoever held it before has committed, and its
// undo row is seen by a query that begins now. A trigger that fires before would
// look while an INSERT is yet to wait for the one who deletes the key.
//
// From REPEATABLE READ on a query sees what was there when the transaction began.
// A row that has changed since cannot be written then (40001). A key that has
// been deleted since can: there the key of the undo row is tried, and a row that
// is there but not visible fails with 40001 too.
func guardBody(t *undo.Table) string {
	held := "row of " + t.ID + " is held by the global transaction "
	return guardHead + `1
DECLARE
 own pg_catalog.text := pg_catalog.current_setting('` + guardMarker + `', true);
 fresh pg_catalog.bool := pg_catalog.current_setting('transaction_isolation') IN ('read committed', 'read uncommitted');
 key pg_catalog.text;
 new_key pg_catalog.text;
 holder pg_catalog.text;
BEGIN
 IF own = '` + guardAll + `' THEN
  RETURN NULL;
 END IF;
 IF TG_OP = 'TRUNCATE' THEN
  IF NOT fresh THEN
   RAISE EXCEPTION USING ERRCODE = '` + guardState + `', MESSAGE = ` + literal("TRUNCATE of "+t.ID+" must be at READ COMMITTED: it has the guard of globaltx") + `;
  END IF;
  SELECT u.xid INTO holder FROM ` + tableUndo + ` AS u WHERE u.tbl = ` + literal(t.ID) + ` LIMIT 1;
 ELSE
  IF TG_OP <> 'INSERT' THEN
   key := ` + keyHash(t, "OLD") + `;
   SELECT u.xid INTO holder FROM ` + tableUndo + ` AS u WHERE u.tbl = ` + literal(t.ID) + ` AND u.keyh = key AND u.xid IS DISTINCT FROM own;
  END IF;
  IF holder IS NULL AND TG_OP <> 'DELETE' THEN
   new_key := ` + keyHash(t, "NEW") + `;
   IF key IS DISTINCT FROM new_key THEN
    SELECT u.xid INTO holder FROM ` + tableUndo + ` AS u WHERE u.tbl = ` + literal(t.ID) + ` AND u.keyh = new_key AND u.xid IS DISTINCT FROM own;
    IF holder IS NULL AND NOT fresh AND COALESCE(own, '') = '' THEN
     INSERT INTO ` + tableUndo + ` (tbl, keyh, xid, branch, seq, op, schema_fp) VALUES (` + literal(t.ID) + `, new_key, '', 0, 0, 'I', '') ON CONFLICT DO NOTHING;
     DELETE FROM ` + tableUndo + ` AS u WHERE u.tbl = ` + literal(t.ID) + ` AND u.keyh = new_key AND u.xid = '';
    END IF;
   END IF;
  END IF;
 END IF;
 IF holder IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = '` + guardState + `', MESSAGE = ` + literal(held) + ` || holder,
   DETAIL = 'It is not decided yet, or not finished in this database.',
   HINT = 'Roll back and try again later. gtx show tells what it has changed.', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
 END IF;
 RETURN NULL;
END`
}

// Parts of a text that guardQuery gives.
const (
	guardNext  = "\x01" // between two triggers
	guardField = "\x02" // between the parts of one: name, enabled, parts, source of the function
)

// guardQuery is an expression for the triggers by our names of the table c. They
// are told apart from others by name, and then judged by guarded.
const guardQuery = `COALESCE((SELECT string_agg(pg_catalog.concat_ws(chr(2), g.tgname, g.tgenabled, pg_catalog.concat_ws(' ', g.tgtype, g.tgnargs, g.tgattr::text,
   g.tgqual IS NULL, g.tgconstraint, g.tgdeferrable, g.tgoldtable IS NULL AND g.tgnewtable IS NULL, p.prosecdef, p.provolatile, l.lanname, s.nspname, p.proname,
   pg_catalog.array_to_string(p.proconfig, ';')), p.prosrc), chr(1) ORDER BY g.tgname)
  FROM pg_catalog.pg_trigger AS g JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
   JOIN pg_catalog.pg_namespace AS s ON s.oid = p.pronamespace
  WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgname IN ('` + guardRow + `', '` + guardTruncate + `')), '')`

// guardSettings are pinned for the function, which runs with the rights of who
// installed it.
const guardSettings = "search_path=pg_catalog, pg_temp"

// judgeGuard compares what guardQuery found with what InstallGuard installs. The
// error says that a trigger by our name is not ours, or does not fit: what it does
// is not known.
func judgeGuard(t *undo.Table, found string) (undo.GuardState, string, error) {
	triggers := 0
	state, reason := undo.Guarded, ""
	for text := range strings.SplitSeq(found, guardNext) {
		field := strings.Split(text, guardField)
		if len(field) != 4 {
			return "", "", fmt.Errorf("read guard of %s: %d parts", t.ID, len(field))
		}
		for _, want := range guardTriggers {
			if field[0] != want.name {
				continue
			}
			parts := want.tgtype + " 0  t 0 f t t v plpgsql " + schemaName + " " + guardFunc(t.ID) + " " + guardSettings
			switch {
			case !strings.HasPrefix(strings.TrimSpace(field[3]), guardHead):
				return undo.GuardStale, field[0] + " is a trigger of somebody else", foreignGuard(t.ID, field[0])
			case field[2] != parts || field[3] != guardSource(t):
				return undo.GuardStale, "trigger " + field[0] + " is not what would be installed now", staleGuard(t.ID)
			case field[1] != "O":
				state, reason = undo.GuardPartial, "trigger "+field[0]+" is turned off or changed by ALTER TABLE"
			}
			triggers++
		}
	}
	if triggers < len(guardTriggers) {
		state, reason = undo.GuardPartial, "one of its triggers is missing"
	}
	return state, reason, nil
}

// guardSource is what the catalogue keeps of guardBody.
func guardSource(t *undo.Table) string { return "\n" + guardBody(t) + "\n" }

func foreignGuard(id, trigger string) error {
	return &gtx.UnsupportedError{
		Code: undo.CodeGuardForeign, Reason: id + " has the trigger " + trigger + ", which is not one of globaltx: what it writes is not captured",
		Hint: "rename or drop it",
	}
}

func staleGuard(id string) error {
	return &gtx.UnsupportedError{
		Code: undo.CodeGuardStale, Reason: "the guard of " + id + " is not what would be installed now: the key or the name of the table has changed, or the trigger",
		Hint: "gtx guard install, or gtx guard remove",
	}
}

// guarded judges the guard of a table that Table has read.
func guarded(t *undo.Table, found string) error {
	if found == "" {
		return nil
	}
	_, _, err := judgeGuard(t, found)
	return err
}

// Guards reads the triggers by our names.
func (d Dialect) Guards(ctx context.Context, q undo.Query, id string) ([]undo.Guard, error) {
	text := "SELECT n.nspname, c.relname, " + guardQuery + " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace" +
		" WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgname IN ('" + guardRow + "', '" + guardTruncate + "'))"
	if id != "" {
		text += " AND c.oid = pg_catalog.to_regclass(" + literal(id) + ")"
	}
	rows, err := q(ctx, text+" ORDER BY n.nspname, c.relname")
	if err != nil {
		return nil, fmt.Errorf("list guards: %w", err)
	}
	var all []undo.Guard
	for _, r := range rows {
		g := undo.Guard{ID: ident(r[0]) + "." + ident(r[1]), Name: undo.ShowName(r[0], r[1])}
		t, _, err := readTable(ctx, q, g.ID)
		if err == nil {
			g.State, g.Reason, err = judgeGuard(t, r[2])
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

// guardHolder reads who holds the row of a guard's refusal.
func guardHolder(err error) (gtx.XID, bool) {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) || state.SQLState() != guardState {
		return gtx.XID{}, false
	}
	// What stands around the message differs by base driver.
	for _, word := range strings.Fields(err.Error()) {
		if xid, err := gtx.ParseXID(word); err == nil {
			return xid, true
		}
	}
	return gtx.XID{}, false
}
