package compare

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

const (
	handSubject  = "hand.a"
	oursSubject  = "ours.a"
	waterSubject = "watermill.a"
)

// sender is a local transaction that changes a row and inserts one, and publishes.
type sender struct {
	r       *Rig
	db      *sql.DB
	workers int
	table   string // of messages, "" for none
	publish func(ctx context.Context, tx *sql.Tx, seq int) error
	update  string
	insert  string
}

// Senders are a local transaction by itself, and with a message.
func Senders(ctx context.Context, r *Rig, workers int) ([]Contestant, error) {
	err := r.exec(ctx, "CREATE TABLE IF NOT EXISTS item (id bigint PRIMARY KEY, n bigint NOT NULL)",
		"CREATE TABLE IF NOT EXISTS entry (id bigint PRIMARY KEY, note varchar(100) NOT NULL)", "DELETE FROM item", r.handTable())
	if err != nil {
		return nil, err
	}
	for i := range workers {
		if err := r.exec(ctx, fmt.Sprintf("INSERT INTO item (id, n) VALUES (%d, 0)", i)); err != nil {
			return nil, err
		}
	}
	box, err := outbox.Open(ctx, r.Ours, outbox.Config{})
	if err != nil {
		return nil, err
	}
	all := []Contestant{
		r.sender("bare", r.Base, workers, "", nil),
		r.sender("by hand", r.Base, workers, "hand_outbox", r.handPublish),
		r.sender("outbox", r.Ours, workers, "gtx_outbox", func(ctx context.Context, tx *sql.Tx, seq int) error {
			_, err := box.Publish(ctx, tx, outbox.Message{Subject: oursSubject, Body: body(seq)})
			return err
		}),
	}
	if !r.NoWatermill {
		w, err := newWater(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, r.sender("Watermill", r.Base, workers, w.table, w.publish))
	}
	return all, nil
}

func (r *Rig) sender(name string, db *sql.DB, workers int, table string, publish func(context.Context, *sql.Tx, int) error) Contestant {
	s := &sender{r: r, db: db, workers: workers, table: table, publish: publish}
	s.update = "UPDATE item SET n = n + 1 WHERE id = " + r.holders(1)
	s.insert = "INSERT INTO entry (id, note) VALUES (" + r.holders(2) + ")"
	return Contestant{name, s.prepare, s.work, s.check}
}

func (s *sender) prepare(ctx context.Context, _ int) error {
	tables := []string{"entry"}
	if s.table != "" {
		tables = append(tables, s.table)
	}
	return s.r.empty(ctx, tables...)
}

func (s *sender) work(ctx context.Context, n int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, s.workers)
	for w := range s.workers {
		wg.Go(func() {
			for errs[w] == nil {
				seq := int(next.Add(1)) - 1
				if seq >= n {
					return
				}
				errs[w] = s.one(ctx, w, seq)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *sender) one(ctx context.Context, worker, seq int) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, s.update, worker); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, s.insert, seq, "a note of what was done"); err != nil {
		return err
	}
	if s.publish != nil {
		if err := s.publish(ctx, tx, seq); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sender) check(ctx context.Context, n int) error {
	if err := s.r.rows(ctx, "entry", n); err != nil || s.table == "" {
		return err
	}
	return s.r.rows(ctx, s.table, n)
}
