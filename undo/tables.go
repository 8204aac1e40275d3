package undo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// CreateTables makes tables of this module that are not part of Dialect.Schema where one
// of them is missing. names are what the probes read, qualified where they must be; ddl
// may run again and concurrently (IF NOT EXISTS). Concurrent calls, also of several
// processes, are fine. Where all of names exist no privilege to create is needed; where it
// is missing the error holds the exact DDL.
func CreateTables(ctx context.Context, db *sql.DB, d Dialect, names, ddl []string) error {
	if err := autocommits(ctx, db, d); err != nil {
		return err
	}
	var err error
	strange := 0
	for try := range migrateTries {
		if try > 0 {
			t := time.NewTimer(min(5*time.Millisecond<<try, 250*time.Millisecond))
			select {
			case <-ctx.Done():
				t.Stop()
				return errors.Join(ctx.Err(), err)
			case <-t.C:
			}
		}
		if err = probe(ctx, db, names); err == nil {
			return nil
		}
		switch d.Classify(err) {
		case NoTable:
		case Denied:
			return err
		default: // SQLite may say that the schema has changed
			if strange++; strange > 3 {
				return err
			}
			continue
		}
		if err = create(ctx, db, d, ddl); err == nil {
			return nil
		}
		if d.Classify(err) == Denied && probe(ctx, db, names) != nil { // MySQL wants the privilege even where nothing is to do
			return fmt.Errorf("create tables of globaltx: this user may not. Run `gtx migrate --with` with a user who may, or execute:\n\n%s;\n\nthe database said: %w",
				strings.Join(ddl, ";\n"), err)
		}
	}
	return fmt.Errorf("create tables of globaltx: %w", err)
}

// autocommits refuses sessions in which every read begins a local transaction that nobody
// ends: what is read later would be as old.
func autocommits(ctx context.Context, db *sql.DB, d Dialect) error {
	if d.Name() != "mysql" {
		return nil
	}
	lines, err := QueryDB(db)(ctx, "SELECT @@autocommit")
	if err != nil {
		return fmt.Errorf("look at the session: %w", err)
	}
	if len(lines) == 1 && lines[0][0] == "0" {
		return errors.New("the sessions of this database have autocommit=0: remove it from the DSN, or from the server's settings for this user")
	}
	return nil
}

// create runs the DDL as a whole: a process that dies must not leave a table without its
// index, which nobody would look for. On MySQL, where each statement commits, indexes are
// part of their table's.
func create(ctx context.Context, db *sql.DB, d Dialect, ddl []string) error {
	if d.Name() == "mysql" {
		for _, text := range ddl {
			if _, err := db.ExecContext(ctx, text); err != nil {
				return err
			}
		}
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, text := range ddl {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// probe tells whether all of the tables can be read.
func probe(ctx context.Context, db *sql.DB, names []string) error {
	for _, name := range names {
		if _, err := QueryDB(db)(ctx, "SELECT 1 FROM "+name+" WHERE 1 = 0"); err != nil {
			return fmt.Errorf("look for table %s: %w", name, err)
		}
	}
	return nil
}
