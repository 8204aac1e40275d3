package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Desk is where an operator looks after the inboxes of a database. It handles nothing and
// makes no tables: where they are missing its errors are what undo.Dialect calls NoTable.
// Safe for concurrent use.
type Desk struct{ s store }

// DeskOf gives the Desk of a database, which any driver may have opened.
func DeskOf(ctx context.Context, db *sql.DB, d undo.Dialect) (*Desk, error) {
	k := &Desk{store{db: db, d: d, n: namesOf(d.Name())}}
	if err := k.s.encoding(gtx.Detach(ctx)); err != nil {
		return nil, err
	}
	return k, nil
}

// Box is an inbox of the database.
type Box struct {
	Name string // Config.Name
	// Failing counts messages that have failed, and will be tried again.
	Failing int64
	Dead    int64 // put aside
}

// DeadMessage is a message that was put aside, as a whole.
type DeadMessage struct {
	DeadLetter
	Body []byte
}

// Boxes gives the inboxes that have handled a message or put one aside, by name.
func (k *Desk) Boxes(ctx context.Context) (all []Box, err error) {
	ctx = gtx.Detach(ctx)
	// Look-ups of the first row behind a name: of each inbox there may be millions.
	next := "SELECT MIN(consumer) FROM " + k.s.n.inbox + " WHERE consumer > '"
	for last := ""; ; {
		var name sql.NullString
		if err := k.s.db.QueryRowContext(ctx, next+last+"'").Scan(&name); err != nil {
			return nil, fmt.Errorf("list inboxes: %w", err)
		}
		if !name.Valid {
			return all, nil
		}
		last = name.String
		if !nameOK.MatchString(last) {
			return nil, fmt.Errorf("list inboxes: %.70q is not the name of one", last)
		}
		mine := " WHERE consumer = '" + last + "'"
		b := Box{Name: last}
		if err := k.s.db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM "+k.s.n.try+mine+"), (SELECT count(*) FROM "+k.s.n.dead+mine+")").Scan(&b.Failing, &b.Dead); err != nil {
			return nil, fmt.Errorf("count messages of inbox %s: %w", last, err)
		}
		all = append(all, b)
	}
}

// of gives the store of an inbox by name.
func (k *Desk) of(name string) (*store, error) {
	if !nameOK.MatchString(name) {
		return nil, fmt.Errorf("%.70q is not the name of an inbox", name)
	}
	s := k.s
	s.consumer = name
	return &s, nil
}

// Dead gives messages that an inbox has put aside, the latest first, at most limit.
func (k *Desk) Dead(ctx context.Context, name string, limit int) ([]DeadLetter, error) {
	s, err := k.of(name)
	if err != nil {
		return nil, err
	}
	return s.letters(gtx.Detach(ctx), limit)
}

// DeadMessage gives one of them with its body, or ErrNotDead.
func (k *Desk) DeadMessage(ctx context.Context, name, id string) (*DeadMessage, error) {
	s, err := k.of(name)
	if err != nil {
		return nil, err
	}
	if !idOK(id) {
		return nil, ErrNotDead
	}
	var m DeadMessage
	line := s.db.QueryRowContext(gtx.Detach(ctx), "SELECT "+s.shown()+", body FROM "+s.n.dead+" WHERE "+s.key(id))
	if m.DeadLetter, err = scanLetter(line.Scan, &m.Body); errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotDead
	} else if err != nil {
		return nil, err
	}
	return &m, nil
}

// Replay asks whoever consumes for the replay of a message: see Inbox.Replay.
func (k *Desk) Replay(ctx context.Context, name, id string) error {
	s, err := k.of(name)
	if err != nil {
		return err
	}
	if !idOK(id) {
		return ErrNotDead
	}
	if n, err := s.ask(gtx.Detach(ctx), id); err != nil || n == 0 {
		return orNotDead(err)
	}
	return nil
}

// ReplayAll asks for the replay of all that the inbox has put aside, and gives how many
// messages that are.
func (k *Desk) ReplayAll(ctx context.Context, name string) (int, error) {
	s, err := k.of(name)
	if err != nil {
		return 0, err
	}
	ctx = gtx.Detach(ctx)
	const page = 500
	n := 0
	for last := ""; ; {
		rows, err := s.db.QueryContext(ctx, fmt.Sprintf("SELECT id FROM %s WHERE consumer = '%s' AND id > '%s' ORDER BY id LIMIT %d", s.n.dead, s.consumer, last, page))
		if err != nil {
			return n, fmt.Errorf("list dead messages: %w", err)
		}
		ids, err := scanIDs(rows)
		rows.Close()
		if err != nil {
			return n, fmt.Errorf("list dead messages: %w", err)
		}
		// One by one: an update of a range would hold up those that put messages aside.
		for _, id := range ids {
			k, err := s.ask(ctx, id)
			if err != nil {
				return n, err
			}
			n += int(k)
			last = id
		}
		if len(ids) < page {
			return n, nil
		}
	}
}

// Drop forgets a message that was put aside, as Inbox.Drop does, and records who and why in
// gtx_operator, which takes 190 and 4000 bytes of them.
func (k *Desk) Drop(ctx context.Context, name, id, who, reason string) error {
	const maxWho, maxWhy = 190, 4000
	s, err := k.of(name)
	switch {
	case err != nil:
		return err
	case who == "" || len(who) > maxWho || !utf8.ValidString(who):
		return fmt.Errorf("drop message: want who does it, in at most %d bytes", maxWho)
	case reason == "" || len(reason) > maxWhy || !utf8.ValidString(reason) || strings.Contains(reason, "\x00"):
		return fmt.Errorf("drop message: want a reason of at most %d bytes", maxWhy)
	}
	ctx = gtx.Detach(ctx)
	operator := strings.Replace(s.n.undo, "gtx_undo", "gtx_operator", 1)
	// An inbox alone does not need this table.
	if err := undo.CreateTables(ctx, s.db, s.d, []string{operator}, s.d.Schema()); err != nil {
		return fmt.Errorf("drop message: %w", err)
	}
	return s.drop(ctx, id, func(tx *sql.Tx) error {
		// An id may be longer than keyh is wide.
		text := fmt.Sprintf("INSERT INTO %s (at, who, xid, tbl, keyh, action, reason) VALUES (%d, %s, '', %s, '', 'drop-message', %s)",
			operator, time.Now().UnixMicro(), s.lit(who), s.lit("gtx_inbox_dead "+name+" "+id), s.lit(reason))
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("record the operator's action: %w", err)
		}
		return nil
	})
}
