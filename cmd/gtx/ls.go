package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

const lsHelp = `Usage: gtx ls DSN [--stuck]
       gtx ls --nats URL | --dir DIR [--stuck]

Lists the global transactions that have rows in the undo log of a database: those
that run, those that are decided and not finished here, and those that are stuck;
of modes XA and 3PC, branches that wait prepared; and actions (TCC) that were tried
and not yet confirmed or cancelled; and flows that were started from this database
and have not ended. What has failed often is stuck, and tried on.
A transaction is stuck when a row that must be restored was changed from outside;
"gtx show" tells the row, "gtx resolve" ends it. Nothing is changed.

With --nats or --dir in place of a DSN it lists actions without a database, whose
guards the coordinator keeps. --dir runs that coordinator meanwhile: transactions
that other processes have open there, because it is about to start again, abort.

`

// runLs lists what is left in one database.
func runLs(ctx context.Context, args []string, std stdio) error {
	flags := flag.NewFlagSet("gtx ls", flag.ContinueOnError)
	onlyStuck := flags.Bool("stuck", false, "only those that wait for an operator")
	var at resolveOptions
	flags.StringVar(&at.natsURL, "nats", "", "`URL` of the NATS server where the coordinator is")
	flags.StringVar(&at.dirLog, "dir", "", "`directory` of an embedded coordinator that does not run now")
	words, err := parseWords(flags, lsHelp, args, std)
	if err != nil {
		return err
	}
	places := len(words)
	for _, s := range []string{at.natsURL, at.dirLog} {
		if s != "" {
			places++
		}
	}
	switch {
	case places != 1:
		flags.Usage()
		return errUsage
	case len(words) == 0:
		return at.listBare(ctx, *onlyStuck, std.out)
	}
	o, err := openOperator(words[0], nil)
	if err != nil {
		return err
	}
	defer o.close()
	left, err := o.res.Left(ctx)
	if err != nil {
		return o.explain("list "+o.show, err)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "XID\tAGE\tBRANCHES\tUNDO ROWS\tSTUCK SINCE\tWHY")
	n := 0
	for _, x := range left {
		if *onlyStuck && x.Stuck == nil {
			continue
		}
		n++
		age, since, why := "-", "-", "-"
		if !x.Created.IsZero() {
			age = time.Since(x.Created).Round(time.Second).String()
		}
		if x.Stuck != nil {
			since, why = stamp(x.Stuck.Since), x.Stuck.Table+": "+x.Stuck.Reason
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", clean(x.XID), age, x.Branches, x.UndoRows, since, clean(why))
	}
	var prepared []preparedBranch
	unlisted := ""
	if !*onlyStuck { // a prepared one waits for its coordinator, not for an operator
		if prepared, unlisted, err = o.prepared(ctx); err != nil {
			return o.explain("list prepared branches of "+o.show, err)
		}
	}
	actions, err := o.actions(ctx, gtx.XID{}, *onlyStuck)
	if err != nil {
		return err
	}
	flows, err := o.flows(ctx, *onlyStuck)
	if err != nil {
		return err
	}
	if n > 0 {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	gap := func(above, below int) {
		if above > 0 && below > 0 {
			fmt.Fprintln(std.out)
		}
	}
	gap(n, len(prepared))
	if err := writePrepared(std.out, prepared, unlisted); err != nil {
		return err
	}
	gap(n+len(prepared), len(actions))
	if err := writeActions(std.out, actions); err != nil {
		return err
	}
	gap(n+len(prepared)+len(actions), len(flows))
	if err := writeFlows(std.out, flows); err != nil {
		return err
	}
	switch {
	case n > 0 || len(prepared)+len(actions)+len(flows) > 0:
	case *onlyStuck:
		_, err = fmt.Fprintf(std.out, "no global transaction is stuck in %s\n", o.show)
	default:
		_, err = fmt.Fprintf(std.out, "no global transaction has anything left in %s\n", o.show)
	}
	return err
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// operator is a database opened for one of the commands that look after what is
// left in it. Nothing is resolved that the command does not ask for.
type operator struct {
	target
	res *undo.Resolver
	db  *sql.DB
}

// openOperator opens what phase two of the driver would open. c is asked for
// outcomes; it may be nil.
func openOperator(dsn string, c gtx.Coordinator) (*operator, error) {
	t, err := parseTarget(dsn)
	if err != nil {
		return nil, err
	}
	base, err := t.base(t.dsn)
	if err == nil {
		err = base.Refuse
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", t.show, err)
	}
	if base.Resolver == nil {
		base.Resolver = base.Connector
	}
	o := &operator{target: t, db: sql.OpenDB(base.Resolver)}
	o.db.SetMaxOpenConns(2)
	o.res, err = undo.NewResolver(undo.Config{
		DB: o.db, Dialect: t.dialect, Coordinator: func() gtx.Coordinator { return c },
		Logger: slog.New(slog.DiscardHandler), // the command itself tells
	})
	if err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *operator) close() { o.db.Close() }

// explain says what an error means where the tables of this module are missing.
func (o *operator) explain(doing string, err error) error {
	if o.dialect.Classify(err) == undo.NoTable {
		return fmt.Errorf("%s: no tables of globaltx there (gtx migrate makes them): %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// parseMixed parses flags that may stand before and behind the other words, of
// which there must be n.
func parseMixed(flags *flag.FlagSet, text string, args []string, n int, std stdio) ([]string, error) {
	words, err := parseWords(flags, text, args, std)
	if err != nil {
		return nil, err
	}
	if len(words) != n {
		flags.Usage()
		return nil, errUsage
	}
	return words, nil
}

// parseWords is parseMixed for any number of words.
func parseWords(flags *flag.FlagSet, text string, args []string, std stdio) (words []string, err error) {
	flags.SetOutput(std.err)
	flags.Usage = func() {
		fmt.Fprint(std.err, text)
		flags.PrintDefaults()
		fmt.Fprint(std.err, "\n", targetHelp)
	}
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, errUsage
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	return words, nil
}

// clean keeps what a database holds from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
