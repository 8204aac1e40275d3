package undo

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// SchemaVersion is the version of the tables that this package works with, which
// gtx_resource holds. Who changes Dialect.Schema raises it, and gives Migrate the
// way from the version before.
const SchemaVersion = 1

// migrateTries bounds how often Migrate starts again. CREATE TABLE IF NOT EXISTS
// fails in several ways when another session creates the same table.
const migrateTries = 20

// Migrate makes the tables where they are missing and gives the identity of the
// database, made on the first call for it. Concurrent calls, also of several
// processes, get the same answer. Where the tables exist no privilege to create
// is needed; where it is missing the error holds the exact DDL.
func (r *Resolver) Migrate(ctx context.Context) (gtx.ResourceID, error) {
	var err error
	for try := range migrateTries {
		if try > 0 {
			t := time.NewTimer(min(5*time.Millisecond<<try, 250*time.Millisecond))
			select {
			case <-ctx.Done():
				t.Stop()
				return "", errors.Join(ctx.Err(), err)
			case <-t.C:
			}
		}
		var id gtx.ResourceID
		var again bool
		if id, again, err = r.migrateOnce(ctx); err == nil {
			r.mu.Lock()
			r.id = id
			r.mu.Unlock()
			return id, nil
		}
		if r.cfg.Dialect.Classify(err) == Denied {
			return "", r.explainDenied(err)
		}
		if !again || ctx.Err() != nil {
			break
		}
	}
	return "", err
}

// explainDenied adds what to do where a user may not create tables.
func (r *Resolver) explainDenied(err error) error {
	if r.cfg.Dialect.Classify(err) != Denied {
		return err
	}
	return fmt.Errorf("create the tables of globaltx: this user may not. Run `gtx migrate` with a user who may, or execute:\n\n%s;\n\nthe database said: %w",
		strings.Join(r.cfg.Dialect.Schema(), ";\n"), err)
}

// migrateOnce also tells whether an error may come from a race with another
// session.
func (r *Resolver) migrateOnce(ctx context.Context) (id gtx.ResourceID, again bool, err error) {
	conn, err := r.cfg.DB.Conn(ctx)
	if err != nil {
		return "", false, fmt.Errorf("open connection to create tables: %w", err)
	}
	defer conn.Close()
	// The identity is written last: where it stands everything else does, too. A
	// process may have died between any two of the statements.
	id, err = r.readID(ctx, conn)
	var other *versionError
	if errors.As(err, &other) {
		return "", false, err
	}
	if err != nil && r.cfg.Dialect.Classify(err) != NoTable || id != "" {
		return id, r.cfg.Dialect.Classify(err) == Conflict, err
	}
	for _, ddl := range r.cfg.Dialect.Schema() {
		if _, err := conn.ExecContext(ctx, ddl); err != nil && !r.made(ctx, conn, err) {
			return "", true, fmt.Errorf("create tables of globaltx: %w", err)
		}
	}
	_, err = conn.ExecContext(ctx, r.text("INSERT INTO gtx_resource (one, id, version) VALUES (1, ?, ?)"), newUUID(), SchemaVersion)
	if err != nil && r.cfg.Dialect.Classify(err) != Duplicate {
		return "", true, fmt.Errorf("insert identity of the database: %w", err)
	}
	id, err = r.readID(ctx, conn)
	if err == nil && id == "" {
		err = errors.New("read identity of the database: gtx_resource is empty")
	}
	return id, true, err
}

// made reports whether DDL was denied for tables that somebody has made already:
// MySQL wants the privilege even where IF NOT EXISTS has nothing to do.
func (r *Resolver) made(ctx context.Context, conn *sql.Conn, err error) bool {
	if r.cfg.Dialect.Name() != "mysql" || r.cfg.Dialect.Classify(err) != Denied {
		return false
	}
	for _, table := range []string{"gtx_resource", "gtx_branch", "gtx_undo", "gtx_operator"} {
		if _, err := QueryDB(conn)(ctx, "SELECT 1 FROM "+table+" WHERE 1 = 0"); err != nil {
			return false
		}
	}
	return true
}

// Identity reads the identity of the database, "" where it has none yet, and makes
// nothing. Tables of another release are an error.
func (r *Resolver) Identity(ctx context.Context) (gtx.ResourceID, error) {
	id, err := r.readID(ctx, r.cfg.DB)
	if err != nil && r.cfg.Dialect.Classify(err) == NoTable {
		return "", nil
	}
	return id, err
}

func (r *Resolver) readID(ctx context.Context, q interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
},
) (gtx.ResourceID, error) {
	lines, err := QueryDB(q)(ctx, r.text("SELECT id, version FROM gtx_resource WHERE one = 1"))
	if err != nil {
		return "", fmt.Errorf("read identity of the database: %w", err)
	}
	if len(lines) == 0 {
		return "", nil
	}
	if len(lines[0]) != 2 { // what answers is no database of a dialect that is known here
		return "", fmt.Errorf("read identity of the database: a row of %d columns, want 2", len(lines[0]))
	}
	if v := lines[0][1]; v != strconv.Itoa(SchemaVersion) {
		return "", &versionError{v}
	}
	return gtx.ResourceID(lines[0][0]), nil
}

// versionError says that the tables are not those of SchemaVersion.
type versionError struct{ found string }

func (e *versionError) Error() string {
	return fmt.Sprintf("the tables of globaltx in this database have version %s, this program knows version %d: update the programs that use the database to one release",
		e.found, SchemaVersion)
}

// resource gives the identity, read at most once.
func (r *Resolver) resource(ctx context.Context) (gtx.ResourceID, error) {
	r.mu.Lock()
	id := r.id
	r.mu.Unlock()
	if id != "" {
		return id, nil
	}
	id, err := r.readID(ctx, r.cfg.DB)
	if err == nil && id == "" {
		err = errors.New("read identity of the database: gtx_resource is empty")
	}
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	r.id = id
	r.mu.Unlock()
	return id, nil
}

// newUUID makes a random UUID, version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
