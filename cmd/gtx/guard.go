package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

const guardHelp = `Usage: gtx guard install DSN TABLE...
       gtx guard remove DSN TABLE...
       gtx guard ls DSN [TABLE...]

A guard is a set of triggers on a table, by which the database refuses a write to a
row that an undecided global transaction holds, whoever sends it: a program that
does not use globaltx, a shell. Without one such a write is found when the row is
to be restored, and the transaction is stuck. Whoever is refused rolls back and
tries again when the transaction has ended.

install makes or replaces the guard; it may run again. The guard works with the
rights of the user who installs it, who needs those to create triggers and to
write to gtx_undo. When the primary key or the name of a table has changed,
programs are refused until it has been installed again.

ls tells of each guard whether it is as install would make it. It ends with exit
code 1 when one is not, or when a TABLE has none.

A TABLE is written as the catalogue spells it, schema.table where it is in another
schema. MySQL, MariaDB and PostgreSQL have guards, SQLite has none.

`

// guardDialect is what is needed of a driver of gtx.
type guardDialect interface {
	proxy.Dialect
	undo.Guarder
}

// errNotGuarded ends gtx guard ls with exit code 1, after its list.
var errNotGuarded = errors.New("not all tables are guarded")

// runGuard is one of three commands, the first of args.
func runGuard(ctx context.Context, args []string, std stdio) error {
	flags := flag.NewFlagSet("gtx guard", flag.ContinueOnError)
	flags.SetOutput(std.err)
	timeout := flags.Duration("timeout", time.Minute, "for everything together")
	flags.Usage = func() {
		fmt.Fprint(std.err, guardHelp)
		flags.PrintDefaults()
		fmt.Fprint(std.err, "\n", targetHelp)
	}
	words, err := parseAnywhere(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	run := map[string]func(context.Context, *guardVisit, []string) error{
		"install": installGuards, "remove": removeGuards, "ls": listGuards,
	}
	if len(words) < 2 || run[words[0]] == nil || words[0] != "ls" && len(words) < 3 {
		flags.Usage()
		return errUsage
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	v, err := openGuards(ctx, words[1], std)
	if err != nil {
		return errors.New(hideSecret(words[1], err.Error()))
	}
	defer v.close()
	if err := run[words[0]](ctx, v, words[2:]); errors.Is(err, errNotGuarded) {
		return err
	} else if err != nil {
		return errors.New(hideSecret(words[1], err.Error()))
	}
	return nil
}

// guardVisit is one connection to a database.
type guardVisit struct {
	d    guardDialect
	db   *sql.DB
	conn *sql.Conn
	std  stdio
}

func openGuards(ctx context.Context, dsn string, std stdio) (*guardVisit, error) {
	t, base, err := openLooking(dsn)
	if err != nil {
		return nil, err
	}
	d, ok := base.Dialect.(guardDialect)
	if !ok {
		return nil, fmt.Errorf("%s has no guards: a trigger of SQLite cannot compute the key under which a row is held", t.show)
	}
	v := &guardVisit{d: d, db: sql.OpenDB(base.Connector), std: std}
	if v.conn, err = v.db.Conn(ctx); err != nil {
		v.db.Close()
		return nil, fmt.Errorf("connect to %s: %w", t.show, err)
	}
	return v, nil
}

func (v *guardVisit) close() {
	v.conn.Close()
	v.db.Close()
}

// ids finds the tables that are named. One that is not there is an error before
// anything has been done.
func (v *guardVisit) ids(ctx context.Context, words []string) ([]string, error) {
	names, err := parseNames(words)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(names))
	for i, name := range names {
		id, err := v.d.Resolve(ctx, undo.QueryDB(v.conn), name)
		if err != nil {
			return nil, fmt.Errorf("look for table %s: %w", words[i], err)
		}
		ids[i] = id
	}
	return ids, nil
}

func installGuards(ctx context.Context, v *guardVisit, words []string) error {
	ids, err := v.ids(ctx, words)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if err := v.d.InstallGuard(ctx, v.conn, id); err != nil {
			return fmt.Errorf("%s cannot be guarded: %w", words[i], err)
		}
		if _, err := fmt.Fprintf(v.std.out, "%s is guarded\n", clean(words[i])); err != nil {
			return err
		}
	}
	return nil
}

func removeGuards(ctx context.Context, v *guardVisit, words []string) error {
	ids, err := v.ids(ctx, words)
	if err != nil {
		return err
	}
	for i, id := range ids {
		found, err := v.d.Guards(ctx, undo.QueryDB(v.conn), id)
		if err != nil {
			return err
		}
		told := "is not guarded any more"
		if len(found) == 0 {
			told = "had no guard"
		}
		if err := v.d.RemoveGuard(ctx, v.conn, id); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(v.std.out, "%s %s\n", clean(words[i]), told); err != nil {
			return err
		}
	}
	return nil
}

func listGuards(ctx context.Context, v *guardVisit, words []string) error {
	var all []undo.Guard
	ids, err := v.ids(ctx, words)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		if all, err = v.d.Guards(ctx, undo.QueryDB(v.conn), ""); err != nil {
			return err
		}
	}
	for i, id := range ids {
		found, err := v.d.Guards(ctx, undo.QueryDB(v.conn), id)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			found = []undo.Guard{{Name: words[i], State: "none"}}
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(v.std.out, "no table has a guard")
		return err
	}
	w := tabwriter.NewWriter(v.std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TABLE\tGUARD\tWHY")
	good := true
	for _, g := range all {
		good = good && g.State == undo.Guarded
		why := "-"
		if g.Reason != "" {
			why = g.Reason
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", clean(g.Name), g.State, clean(why))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !good {
		return errNotGuarded
	}
	return nil
}

// guardFinding tells doctor of the guard of a table, if it has one.
func guardFinding(ctx context.Context, d any, q undo.Query, id string) ([]undo.Finding, error) {
	g, ok := d.(undo.Guarder)
	if !ok {
		return nil, nil
	}
	found, err := g.Guards(ctx, q, id)
	if err != nil {
		return nil, err
	}
	var out []undo.Finding
	for _, one := range found {
		f := undo.Finding{Name: "guard", Level: undo.Info, Value: string(one.State), Reason: "guarded: the database refuses other writers on rows of a global transaction"}
		if one.State != undo.Guarded {
			f.Level, f.Reason, f.Hint = undo.Warn, string(one.State)+": "+one.Reason, "gtx guard install"
		}
		out = append(out, f)
	}
	return out, nil
}
