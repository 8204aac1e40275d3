package messages

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// BenchmarkOutboxPublish is a local transaction that changes a row and inserts one, without
// and with a message of 256 bytes, in turns. It reports both medians and their ratio. The
// bound of 1.3 is for servers that wait for their disk: GTX_TEST_DURABLE=1.
func BenchmarkOutboxPublish(b *testing.B) {
	for _, s := range servers() {
		b.Run(s.name, func(b *testing.B) {
			db := open(b, s, s.dsn(b))
			itemTable(b, db)
			mustExec(b, db, "CREATE TABLE entry (id bigint PRIMARY KEY, note varchar(100) NOT NULL)")
			o := openBox(b, db, outbox.Config{})
			body := make([]byte, 256)
			n := 0
			turn := func(publish bool) time.Duration {
				n++
				began := time.Now()
				tx, err := db.BeginTx(context.Background(), nil)
				if err != nil {
					b.Fatal(err)
				}
				defer tx.Rollback()
				if _, err = tx.Exec("UPDATE item SET n = n + 1 WHERE id = 1"); err == nil {
					_, err = tx.Exec(fmt.Sprintf("INSERT INTO entry (id, note) VALUES (%d, 'a note of what was done')", n))
				}
				if err == nil && publish {
					_, err = o.Publish(context.Background(), tx, outbox.Message{Subject: "box.a", Key: "k", Body: body})
				}
				if err == nil {
					err = tx.Commit()
				}
				if err != nil {
					b.Fatal(err)
				}
				return time.Since(began)
			}
			var bare, with []time.Duration
			for b.Loop() {
				bare = append(bare, turn(false))
				with = append(with, turn(true))
			}
			b.ReportMetric(float64(median(bare).Microseconds()), "µs-bare")
			b.ReportMetric(float64(median(with).Microseconds()), "µs-publish")
			b.ReportMetric(float64(median(with))/float64(median(bare)), "ratio")
		})
	}
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkOutboxRelay empties a backlog of messages of 256 bytes, of 1000 keys, of one and of none,
// to a NATS server that does not sync each message: the time of one that does is its disk's.
func BenchmarkOutboxRelay(b *testing.B) {
	for _, s := range servers() {
		for _, keys := range []int{0, 1, 1000} {
			b.Run(fmt.Sprintf("%s/keys=%d", s.name, keys), func(b *testing.B) {
				m := newMail(b, natstest.Lazy(0))
				db := open(b, s, s.dsn(b))
				o := openBox(b, db, outbox.Config{})
				fillBox(b, db, o, b.N, keys)
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				b.ResetTimer()
				go func() { ended <- o.Relay(ctx, m.nc) }()
				awaitBox(b, "all messages in the stream", func() bool {
					info, err := m.stream.Info(ctx)
					return err == nil && info.State.LastSeq >= uint64(b.N)
				})
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				drained(b, o)
				cancel()
				if err := <-ended; err != nil {
					b.Error(err)
				}
			})
		}
	}
}

func fillBox(b *testing.B, db *sql.DB, o *outbox.Outbox, n, keys int) {
	b.Helper()
	body := make([]byte, 256)
	for n > 0 {
		tx, err := db.Begin()
		if err != nil {
			b.Fatal(err)
		}
		for range min(n, 1000) {
			m := outbox.Message{Subject: "box.a", Body: body}
			if keys > 0 {
				m.Key = fmt.Sprint("key", n%keys)
			}
			if _, err := o.Publish(context.Background(), tx, m); err != nil {
				b.Fatal(err)
			}
			n--
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOutboxLatency is the time from COMMIT to the message in a plain subscriber's
// hands, with a relay in the process of the sender.
func BenchmarkOutboxLatency(b *testing.B) {
	for _, s := range servers() {
		b.Run(s.name, func(b *testing.B) {
			m := newMail(b, natstest.Lazy(0))
			db := open(b, s, s.dsn(b))
			o := openBox(b, db, outbox.Config{Conn: m.nc})
			sub, err := m.connect(b).SubscribeSync("box.>")
			if err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for b.Loop() {
				publishTx(context.Background(), b, db, o, outbox.Message{Subject: "box.a"})
				began := time.Now()
				if _, err := sub.NextMsg(time.Minute); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			b.ReportMetric(float64(median(took).Microseconds()), "µs-median")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
			drained(b, o)
		})
	}
}
