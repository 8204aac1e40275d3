package compare

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// handTable is the least that an outbox needs.
func (r *Rig) handTable() string {
	return r.pick(
		"CREATE TABLE IF NOT EXISTS hand_outbox (id bigint AUTO_INCREMENT PRIMARY KEY, subject varchar(255) NOT NULL, body blob NOT NULL)",
		"CREATE TABLE IF NOT EXISTS hand_outbox (id bigserial PRIMARY KEY, subject text NOT NULL, body bytea NOT NULL)",
		"CREATE TABLE IF NOT EXISTS hand_outbox (id integer PRIMARY KEY AUTOINCREMENT, subject text NOT NULL, body blob NOT NULL)")
}

func (r *Rig) handPublish(ctx context.Context, tx *sql.Tx, seq int) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO hand_outbox (subject, body) VALUES ("+r.holders(2)+")", handSubject, body(seq))
	return err
}

const (
	handBatch   = 512 // as Config.Batch of the outbox
	handWorkers = 2   // as Config.Workers
)

// handRelay empties hand_outbox. It keeps no order: workers overtake each other, and a
// message that a stream refuses is overtaken by the next one.
func (r *Rig) handRelay(ctx context.Context, js jetstream.JetStream) error {
	workers := handWorkers
	if r.Family == "sqlite" {
		workers = 1
	}
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for n := 1; n > 0 && errs[w] == nil; {
				n, errs[w] = r.handTake(ctx, js)
				// MySQL may read more of a short table than it is told to delete, and meet
				// the other worker's rows. What was published comes again with its ids.
				if dead := (*mysql.MySQLError)(nil); errors.As(errs[w], &dead) && dead.Number == 1213 {
					n, errs[w] = 1, nil
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// handTake relays one batch, and tells how many messages it held.
func (r *Rig) handTake(ctx context.Context, js jetstream.JetStream) (int, error) {
	var opts sql.TxOptions
	lock := ""
	if r.Family != "sqlite" {
		opts.Isolation, lock = sql.LevelReadCommitted, " FOR UPDATE SKIP LOCKED"
	}
	tx, err := r.Base.BeginTx(ctx, &opts)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	lines, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT id, subject, body FROM hand_outbox ORDER BY id LIMIT %d%s", handBatch, lock))
	if err != nil {
		return 0, err
	}
	defer lines.Close()
	var ids []string
	var acks []jetstream.PubAckFuture
	for lines.Next() {
		var id int64
		var subject string
		var data []byte
		if err := lines.Scan(&id, &subject, &data); err != nil {
			return 0, err
		}
		text := strconv.FormatInt(id, 10)
		ack, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, jetstream.WithMsgID(text))
		if err != nil {
			return 0, err
		}
		ids, acks = append(ids, text), append(acks, ack)
	}
	if err := lines.Err(); err != nil || len(ids) == 0 {
		return 0, err
	}
	for _, a := range acks {
		select {
		case <-a.Ok():
		case err := <-a.Err():
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	del := r.pick("DELETE o FROM hand_outbox AS o FORCE INDEX (PRIMARY) WHERE o.id IN (", "DELETE FROM hand_outbox WHERE id IN (", "DELETE FROM hand_outbox WHERE id IN (")
	if _, err := tx.ExecContext(ctx, del+strings.Join(ids, ", ")+")"); err != nil {
		return 0, err
	}
	return len(ids), tx.Commit()
}
