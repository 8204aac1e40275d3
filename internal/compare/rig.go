package compare

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Rig is where contestants work: one database, one NATS server.
type Rig struct {
	// Family is "mysql" (MariaDB too), "postgres" or "sqlite".
	Family string
	// Base is a pool of the base driver. Ours is one of this module's driver, for the same
	// database.
	Base, Ours *sql.DB
	// NoWatermill leaves Watermill out where it does not work.
	NoWatermill bool
	Conn        *nats.Conn
	JS          jetstream.JetStream
}

// bodySize is what a message has, in bytes.
const bodySize = 256

// body gives the body of the seq-th message of a turn.
func body(seq int) []byte {
	b := make([]byte, bodySize)
	binary.BigEndian.PutUint64(b, uint64(seq))
	for i := 8; i < bodySize; i++ {
		b[i] = byte(i) * 73
	}
	return b
}

// seqOf gives the number that body was made with.
func seqOf(b []byte) (int, error) {
	if len(b) != bodySize {
		return 0, fmt.Errorf("a body of %d bytes", len(b))
	}
	return int(binary.BigEndian.Uint64(b)), nil
}

// holders gives "?, ?" or "$1, $2".
func (r *Rig) holders(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = "?"
		if r.Family == "postgres" {
			list[i] = fmt.Sprintf("$%d", i+1)
		}
	}
	return strings.Join(list, ", ")
}

// pick gives the text for the family.
func (r *Rig) pick(mysql, postgres, sqlite string) string {
	switch r.Family {
	case "mysql":
		return mysql
	case "postgres":
		return postgres
	}
	return sqlite
}

// exec runs statements on the base driver.
func (r *Rig) exec(ctx context.Context, texts ...string) error {
	for _, text := range texts {
		if _, err := r.Base.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("%.60s: %w", text, err)
		}
	}
	return nil
}

// empty removes all rows of tables.
func (r *Rig) empty(ctx context.Context, tables ...string) error {
	for _, t := range tables {
		text := "TRUNCATE TABLE " + t
		if r.Family == "sqlite" {
			text = "DELETE FROM " + t
		}
		if err := r.exec(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// rows refuses a table that has not want rows.
func (r *Rig) rows(ctx context.Context, table string, want int) error {
	var n int
	if err := r.Base.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		return fmt.Errorf("count rows of %s: %w", table, err)
	}
	if n != want {
		return fmt.Errorf("%s has %d rows, want %d", table, n, want)
	}
	return nil
}

// stream makes a stream of that name, empty, for subjects that begin with it in lower case.
func (r *Rig) stream(ctx context.Context, name string) error {
	if err := r.unstream(ctx, name); err != nil {
		return err
	}
	cfg := jetstream.StreamConfig{Name: name, Subjects: []string{strings.ToLower(name) + ".>"}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); ; {
		_, err := r.JS.CreateStream(ctx, cfg)
		if err == nil {
			return nil
		}
		// The server may still be removing the store of the one before.
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("create stream %s: %w", name, err)
		}
		<-tick.C
	}
}

func (r *Rig) unstream(ctx context.Context, name string) error {
	if err := r.JS.DeleteStream(ctx, name); err != nil && !strings.Contains(err.Error(), "not found") {
		return fmt.Errorf("delete stream %s: %w", name, err)
	}
	return nil
}
