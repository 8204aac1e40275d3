package outbox

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// text writes SQL for one dialect. Statements hold their values as literals: without
// arguments every base driver sends them in one round trip.
type text struct {
	undo.Dialect
	names
}

func textOf(d undo.Dialect) text { return text{d, namesOf(d.Name())} }

const columns = "id, slot, pos, subject, okey, header, size, body"

// now is the server's clock in microseconds since 1970, of the moment and not of the
// local transaction. In SQLite, which knows milliseconds, it is the machine's, as given.
func (t text) now(micros uint64) string {
	switch t.Name() {
	case "mysql":
		// SET timestamp moves all clocks of a session but SYSDATE, which knows no time but
		// the session's, so that it jumps with the seasons: only its distance counts.
		return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) + TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6))"
	case "postgres":
		return "(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000000)::bigint"
	}
	return strconv.FormatUint(micros, 10)
}

// str is a literal for a column that holds text, whatever character set the session has:
// bytes to MySQL. PostgreSQL reads a statement in the session's character set, in some of
// which a quote or a backslash is the end of a character.
func (t text) str(s string) string {
	switch t.Name() {
	case "mysql":
		return "X'" + hex.EncodeToString([]byte(s)) + "'"
	case "postgres":
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f || r == '\'' || r == '\\' }) {
			return "pg_catalog.convert_from(" + t.bytes([]byte(s)) + ", 'UTF8')"
		}
		return "'" + s + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func (t text) bytes(b []byte) string {
	if t.Name() == "postgres" {
		return "pg_catalog.decode('" + hex.EncodeToString(b) + "', 'hex')"
	}
	return "X'" + hex.EncodeToString(b) + "'"
}

// read gives the bytes of a column that holds text, whatever character set the session has.
func (t text) read(column string) string {
	if t.Name() == "postgres" {
		return "pg_catalog.convert_to(" + column + ", 'UTF8')"
	}
	return column
}

// literalBody is how large a body may be that Publish sends inside the text.
const literalBody = 16 << 10

// insert gives the statement that publishes. With arguments its text is always the same,
// as a capture that keeps what it has read of a text wants it.
func (t text) insert(r *row, literal bool) (string, []any) {
	if literal {
		header := "NULL"
		if len(r.header) > 0 {
			header = t.str(string(r.header))
		}
		return "INSERT INTO " + t.box + " (" + columns + ") VALUES ('" + r.id + "', " + strconv.Itoa(r.slot) + ", " + t.now(r.pos) + ", " +
			t.str(r.subject) + ", " + t.str(r.key) + ", " + header + ", " + strconv.Itoa(len(r.body)) + ", " + t.bytes(r.body) + ")", nil
	}
	body := r.body
	if body == nil {
		body = []byte{} // nil is NULL
	}
	args := []any{r.id, r.slot, t.arg(r.subject), t.arg(r.key), nil, len(r.body), body}
	if len(r.header) > 0 {
		args[4] = t.arg(string(r.header))
	}
	var holders [7]any
	for i := range holders {
		holder := t.Placeholder(i + 1)
		if t.Name() == "postgres" && 2 <= i && i <= 4 {
			holder = "pg_catalog.convert_from(" + holder + ", 'UTF8')"
		}
		holders[i] = holder
	}
	pos := t.now(0)
	if t.Name() == "sqlite" {
		pos = t.Placeholder(8)
		args = append(args, int64(r.pos))
	}
	return "INSERT INTO " + t.box + " (id, slot, subject, okey, header, size, body, pos) VALUES (" +
		fmt.Sprintf("%s, %s, %s, %s, %s, %s, %s, ", holders[:]...) + pos + ")", args
}

// arg is the argument for a column that holds text: see str.
func (t text) arg(s string) any {
	if t.Name() == "sqlite" {
		return s
	}
	return []byte(s)
}

// busy asks for the slots that hold messages: one look-up each. As a condition EXISTS would
// be a join to MySQL, which may read all messages for it.
func (t text) busy() string {
	return "SELECT s.slot FROM " + t.slot + " AS s WHERE (SELECT 1 FROM " + t.box + " AS o WHERE o.slot = s.slot LIMIT 1) = 1"
}

// page asks for the first messages of each slot of a set. Bodies larger than inline are read
// when their turn has come.
func (t text) page(set uint64, held string, inline int64, limit int) string {
	var parts []string
	for i := range slots {
		if set&(1<<i) == 0 {
			continue
		}
		parts = append(parts, "SELECT o.id, o.slot, o.pos, "+t.read("o.subject")+", "+t.read("o.okey")+", "+t.read("o.header")+", o.size, CASE WHEN o.size <= "+strconv.FormatInt(inline, 10)+
			" THEN o.body END, CASE WHEN "+held+" IS NULL THEN 0 ELSE 1 END FROM "+t.box+" AS o WHERE o.slot = "+strconv.Itoa(i)+" ORDER BY o.pos, o.id LIMIT "+strconv.Itoa(limit))
	}
	switch {
	case len(parts) == 1:
		return parts[0]
	case t.Name() == "sqlite": // takes no brackets there
		return "SELECT * FROM (" + strings.Join(parts, ") UNION ALL SELECT * FROM (") + ")"
	}
	return "(" + strings.Join(parts, ") UNION ALL (") + ")"
}

// lock takes those slots of a set that nobody has.
func (t text) lock(set uint64) string {
	force := ""
	if t.Name() == "mysql" {
		force = " FORCE INDEX (PRIMARY)"
	}
	return "SELECT slot FROM " + t.slot + force + " WHERE slot IN (" + numbers(set) + ") FOR UPDATE SKIP LOCKED"
}

// lease is lock where rows cannot be locked. Times are microseconds. What ends later than
// any lease may was given before the clock was set back.
func (t text) lease(set uint64, owner string, now, until, latest uint64) string {
	return fmt.Sprintf("UPDATE %s SET owner = '%s', until = %d WHERE slot IN (%s) AND (until < %d OR until > %d) RETURNING slot",
		t.slot, owner, until, numbers(set), now, latest)
}

func (t text) release(owner string) string {
	return "UPDATE " + t.slot + " SET owner = '', until = 0 WHERE owner = '" + owner + "'"
}

// at finds a message of gtx_outbox by primary key.
func (t text) at(r *row) string {
	found := " WHERE id = '" + r.id + "'"
	if t.Name() == "sqlite" {
		found += " AND slot = " + strconv.Itoa(r.slot) + " AND pos = " + strconv.FormatUint(r.pos, 10)
	}
	return found
}

// remove deletes messages of gtx_outbox by primary key.
func (t text) remove(list []*row) string {
	keys := make([]string, len(list))
	for i, r := range list {
		keys[i] = "'" + r.id + "'"
		if t.Name() == "sqlite" {
			keys[i] = "(" + strconv.Itoa(r.slot) + ", " + strconv.FormatUint(r.pos, 10) + ", " + keys[i] + ")"
		}
	}
	if t.Name() == "sqlite" {
		return "DELETE FROM " + t.box + " WHERE (slot, pos, id) IN (VALUES " + strings.Join(keys, ", ") + ")"
	}
	return t.removeByID(t.box, keys)
}

// removeDead deletes messages among the dead.
func (t text) removeDead(ids []string) string {
	return t.removeByID(t.dead, []string{"'" + strings.Join(ids, "', '") + "'"})
}

// removeByID hints at the primary key: else MySQL may read the whole table instead, and wait
// for messages that are not committed.
func (t text) removeByID(table string, literals []string) string {
	if t.Name() == "mysql" {
		return "DELETE o FROM " + table + " AS o FORCE INDEX (PRIMARY) WHERE o.id IN (" + strings.Join(literals, ", ") + ")"
	}
	return "DELETE FROM " + table + " WHERE id IN (" + strings.Join(literals, ", ") + ")"
}

// body asks for what page has left out.
func (t text) body(r *row) string { return "SELECT body FROM " + t.box + t.at(r) }

// bury copies a message among the dead.
func (t text) bury(r *row, why string, micros uint64) string {
	return "INSERT INTO " + t.dead + " (" + columns + ", error, died) SELECT " + columns + ", " + t.str(plain(why, maxError)) +
		", " + t.now(micros) + " FROM " + t.box + t.at(r)
}

// raise copies a dead message back, behind all others.
func (t text) raise(id string, micros uint64) string {
	return "INSERT INTO " + t.box + " (" + columns + ") SELECT id, slot, " + t.now(micros) + ", subject, okey, header, size, body FROM " + t.dead + " WHERE id = '" + id + "'"
}

// numbers lists the members of a set of slots.
func numbers(set uint64) string {
	list := make([]string, 0, bits.OnesCount64(set))
	for i := range slots {
		if set&(1<<i) != 0 {
			list = append(list, strconv.Itoa(i))
		}
	}
	return strings.Join(list, ", ")
}
