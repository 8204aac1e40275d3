package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
	"github.com/globaltx/globaltx/undo"
)

// runMigrate makes the tables of globaltx in one database, for programs whose own
// user may not create any.
func runMigrate(ctx context.Context, args []string, std stdio) error {
	flags := flag.NewFlagSet("gtx migrate", flag.ContinueOnError)
	flags.SetOutput(std.err)
	printOnly := flags.Bool("print", false, "print the statements and run nothing")
	with := flags.String("with", "", "tables of these `parts`, too: tcc, outbox, inbox, flow, with commas between")
	flags.Usage = func() {
		fmt.Fprintf(std.err, "Usage: gtx migrate [--print] [--with PARTS] DSN\n\nMakes the tables of globaltx where they are missing. Safe to run again.\n\n%s\n", targetHelp)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return errUsage
	}
	t, err := parseTarget(flags.Arg(0))
	if err != nil {
		return err
	}
	more, err := tablesOf(t.dialect, *with)
	if err != nil {
		fmt.Fprintf(std.err, "gtx migrate: %v\n", err)
		return errUsage
	}
	if *printOnly {
		_, err := fmt.Fprintf(std.out, "%s;\n", strings.Join(append(t.dialect.Schema(), more...), ";\n\n"))
		return err
	}
	side, err := t.open(false, 1)
	if err != nil {
		return err
	}
	defer side.DB.Close()
	r, err := undo.NewResolver(undo.Config{
		DB: side.DB, Dialect: t.dialect,
		Coordinator: func() gtx.Coordinator { return nil }, // nothing is resolved here
	})
	if err != nil {
		return err
	}
	id, err := r.Migrate(ctx)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", t.show, err)
	}
	for _, ddl := range more {
		if _, err := side.DB.ExecContext(ctx, ddl); err != nil {
			return fmt.Errorf("migrate %s: %w", t.show, err)
		}
	}
	_, err = fmt.Fprintf(std.out, "%s is ready, resource %s\n", t.show, id)
	return err
}

// tablesOf gives the DDL of the parts of the module that a list names.
func tablesOf(d undo.Dialect, list string) (ddl []string, err error) {
	for part := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(part) {
		case "":
		case "tcc":
			ddl = append(ddl, tcc.Schema(d)...)
		case "outbox":
			ddl = append(ddl, outbox.Schema(d)...)
		case "inbox":
			ddl = append(ddl, inbox.Schema(d)...)
		case "flow":
			ddl = append(ddl, flow.Schema(d)...)
		default:
			return nil, fmt.Errorf("no part is called %q: want tcc, outbox, inbox or flow", part)
		}
	}
	return ddl, nil
}
