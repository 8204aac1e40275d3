package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Desk is where an operator looks after the messages of a database. It relays nothing and
// makes no tables: where they are missing its errors are what undo.Dialect calls NoTable.
// Safe for concurrent use.
type Desk struct {
	db    *sql.DB
	text  text
	clock *atomic.Uint64 // microseconds, for SQLite
}

// DeskOf gives the Desk of a database, which any driver may have opened.
func DeskOf(db *sql.DB, d undo.Dialect) *Desk { return &Desk{db, textOf(d), new(atomic.Uint64)} }

// Backlog is what an outbox has before it.
type Backlog struct {
	// Waiting counts the messages that wait, those of undecided global transactions
	// among them.
	Waiting int64
	// Oldest is how long the first of them has waited. Zero: none waits.
	Oldest time.Duration
	// Dead counts the messages that wait for an operator.
	Dead int64
}

// Dead is a message that no stream will take as it is.
type Dead struct {
	ID, Subject, Key string
	Size             int64 // of the body, bytes
	Error            string
	Died             time.Time // by the clock of the database
}

// DeadMessage is a dead message as a whole.
type DeadMessage struct {
	Dead
	Header nats.Header // nil where it cannot be read, which is why it is dead
	Body   []byte
}

// Backlog counts all that wait.
func (k *Desk) Backlog(ctx context.Context) (b Backlog, err error) {
	var first, clock int64
	line := k.db.QueryRowContext(gtx.Detach(ctx), fmt.Sprintf("SELECT count(*), COALESCE(min(pos), 0), %s, (SELECT count(*) FROM %s) FROM %s",
		k.text.now(uint64(time.Now().UnixMicro())), k.text.dead, k.text.box))
	if err := line.Scan(&b.Waiting, &first, &clock, &b.Dead); err != nil {
		return b, fmt.Errorf("count messages of the outbox: %w", err)
	}
	if b.Waiting > 0 {
		b.Oldest = max(0, time.Duration(clock-first)*time.Microsecond)
	}
	return b, nil
}

// Dead lists at most limit dead messages, the oldest first.
func (k *Desk) Dead(ctx context.Context, limit int) (list []Dead, err error) {
	lines, err := k.db.QueryContext(gtx.Detach(ctx), fmt.Sprintf("%s ORDER BY died, id LIMIT %d", k.text.shown(""), max(0, limit)))
	if err != nil {
		return nil, fmt.Errorf("read dead messages: %w", err)
	}
	defer lines.Close()
	for lines.Next() {
		var d Dead
		if err := scanDead(lines.Scan, &d); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read dead messages: %w", err)
	}
	return list, nil
}

// DeadMessage gives one dead message with its header and body, or ErrNotDead.
func (k *Desk) DeadMessage(ctx context.Context, id string) (*DeadMessage, error) {
	if !idOK(id) {
		return nil, ErrNotDead
	}
	var d DeadMessage
	var header []byte
	line := k.db.QueryRowContext(gtx.Detach(ctx), k.text.shown(", "+k.text.read("header")+", body")+" WHERE id = '"+id+"'")
	if err := scanDead(line.Scan, &d.Dead, &header, &d.Body); errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotDead
	} else if err != nil {
		return nil, err
	}
	d.Header, _ = decodeHeader(header) // Error says it
	return &d, nil
}

// shown asks for what Dead holds, and more.
func (t text) shown(more string) string {
	return "SELECT id, " + t.read("subject") + ", " + t.read("okey") + ", size, " + t.read("error") + ", died" + more + " FROM " + t.dead
}

func scanDead(scan func(...any) error, d *Dead, more ...any) error {
	var died int64
	if err := scan(append([]any{&d.ID, &d.Subject, &d.Key, &d.Size, &d.Error, &died}, more...)...); err != nil {
		return fmt.Errorf("read dead message: %w", err)
	}
	d.Died = time.UnixMicro(died)
	return nil
}

// Replay gives a dead message back to the relay, with the id that it has always had:
// receivers who have it after all know it. It comes behind the messages of its key that
// were published meanwhile. ErrNotDead where there is none, or somebody else was faster.
func (k *Desk) Replay(ctx context.Context, id string) error {
	err := k.take(gtx.Detach(ctx), id, func(ctx context.Context, tx *sql.Tx) error {
		// The row among the dead is deleted after this: two that replay it at once meet at
		// the primary key of gtx_outbox, in SQLite at the one lock of its writers, and whoever
		// is second finds nothing to delete.
		_, err := tx.ExecContext(ctx, k.text.raise(id, after(k.clock, uint64(time.Now().UnixMicro()))))
		if k.text.Classify(err) == undo.Duplicate {
			return ErrNotDead
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrNotDead) {
		return fmt.Errorf("replay message %.40s: %w", id, err)
	}
	return err
}

// ReplayAll replays what is dead now, and gives how many messages that were.
func (k *Desk) ReplayAll(ctx context.Context) (n int, err error) {
	const page = 500
	ctx = gtx.Detach(ctx)
	var until int64 // what dies again comes after it
	now := "SELECT COALESCE(max(died), 0) FROM " + k.text.dead
	if err := k.db.QueryRowContext(ctx, now).Scan(&until); err != nil {
		return 0, fmt.Errorf("read dead messages: %w", err)
	}
	last := ""
	for {
		list, err := idsOf(ctx, k.db, fmt.Sprintf("SELECT id FROM %s WHERE died <= %d AND id > '%s' ORDER BY id LIMIT %d", k.text.dead, until, last, page))
		if err != nil {
			return n, fmt.Errorf("read dead messages: %w", err)
		}
		for _, id := range list {
			if err := k.Replay(ctx, id); err == nil {
				n++
			} else if !errors.Is(err, ErrNotDead) {
				return n, err
			}
			last = id
		}
		if len(list) < page {
			return n, nil
		}
	}
}

// Drop forgets a dead message for ever, and records who and why in gtx_operator, which takes
// 190 and 4000 bytes of them. ErrNotDead where there is none.
func (k *Desk) Drop(ctx context.Context, id, who, reason string) error {
	ctx = gtx.Detach(ctx)
	operator := strings.Replace(k.text.box, "gtx_outbox", "gtx_operator", 1)
	err := operates(who, reason)
	if err == nil {
		// A database that was migrated before there was this table.
		err = undo.CreateTables(ctx, k.db, k.text.Dialect, []string{operator}, k.text.Schema())
	}
	if err == nil {
		err = k.take(ctx, id, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (at, who, xid, tbl, keyh, action, reason) VALUES (%d, %s, '', 'gtx_outbox_dead', '%s', 'drop-message', %s)",
				operator, time.Now().UnixMicro(), k.text.str(who), id, k.text.str(reason)))
			return err
		})
	}
	if err != nil && !errors.Is(err, ErrNotDead) {
		return fmt.Errorf("drop message %.40s: %w", id, err)
	}
	return err
}

// operates refuses what gtx_operator does not take.
func operates(who, reason string) error {
	const maxWho, maxWhy = 190, 4000
	switch {
	case who == "" || len(who) > maxWho || !utf8.ValidString(who):
		return fmt.Errorf("want who does it, in at most %d bytes", maxWho)
	case reason == "" || len(reason) > maxWhy || !utf8.ValidString(reason) || strings.Contains(reason, "\x00"):
		return fmt.Errorf("want a reason of at most %d bytes", maxWhy)
	}
	return nil
}

// take does something with a dead message and deletes its row among the dead, or neither.
func (k *Desk) take(ctx context.Context, id string, do func(ctx context.Context, tx *sql.Tx) error) error {
	if !idOK(id) {
		return ErrNotDead
	}
	tx, err := k.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(ctx, tx); err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, k.text.removeDead([]string{id}))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(ErrNotDead, err)
	}
	return tx.Commit()
}

// begin begins a local transaction of this package's own.
func (k *Desk) begin(ctx context.Context) (*sql.Tx, error) {
	level := sql.LevelReadCommitted
	if k.text.Name() == "sqlite" {
		level = sql.LevelDefault
	}
	return k.db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
}

// idOK tells what can be the id of a message, and stand in a statement.
func idOK(id string) bool { return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" }
