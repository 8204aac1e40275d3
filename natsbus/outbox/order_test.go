package outbox

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	_ "github.com/globaltx/globaltx/driver/pgx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// TestReadsMoreInOrder commits two messages of a key, one from before and one from behind the
// first look's messages, between that look and the next: the first of them goes first.
func TestReadsMoreInOrder(t *testing.T) {
	db, err := sql.Open("gtx-pgx", testserver.Postgres18(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	nc, err := nats.Connect(natstest.Run(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	o, err := Open(t.Context(), db, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })

	const key, limit = "k", 8
	var others []string // other keys of the same slot
	for i := 0; len(others) < 2*limit; i++ {
		if k := fmt.Sprint("other", i); slotOf(k) == slotOf(key) {
			others = append(others, k)
		}
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	first, err := o.Publish(t.Context(), tx, Message{Subject: "good", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range others {
		if _, err := o.Publish(t.Context(), db, Message{Subject: "resting", Key: k}); err != nil {
			t.Fatal(err)
		}
	}
	second, err := o.Publish(t.Context(), tx, Message{Subject: "good", Key: key})
	if err != nil {
		t.Fatal(err)
	}

	r, err := o.newRelay(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	r.subjects["resting"] = &backoff{until: time.Now().Add(time.Hour)}
	b := &batch{r: r}
	if b.c, err = o.take(t.Context(), 1<<slotOf(key), r.held); err != nil {
		t.Fatal(err)
	}
	defer b.c.drop(t.Context())
	list, err := b.c.page(t.Context(), 1<<slotOf(key), inlineBody, limit)
	if err != nil || len(list) != limit {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := b.collectSlot(t.Context(), list, limit); err != nil {
		t.Fatal(err)
	}
	if len(b.chains) != 1 || len(b.chains[0].rows) != 2 || b.chains[0].rows[0].id != first || b.chains[0].rows[1].id != second {
		t.Errorf("want one chain of %s and %s, got %d", first, second, len(b.chains))
		for _, ch := range b.chains {
			for _, m := range ch.rows {
				t.Log(m.id, m.key)
			}
		}
	}
}
