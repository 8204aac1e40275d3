package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

const resolveHelp = `Usage: gtx resolve DSN XID ACTION --reason TEXT [--nats URL | --dir DIR] [flags]
       gtx resolve DSN FLOW --settle SERVICE --reason TEXT [--yes]

Ends an aborted global transaction that is stuck in a database, because rows that
must be restored were changed from outside ("gtx show" tells them). One ACTION:

  --retry         run phase two again, after the rows were put right by hand
  --force-before  write what was before the transaction over the dirty rows;
                  what was written from outside is lost
  --keep-current  leave the dirty rows as they are; what was before is lost
  --drop-action N forget the action of branch N, which fails and fails (TCC): what
                  its Confirm or Cancel should do was done by hand

  --settle NAME   of a flow: what the Undo of this service should do, and cannot,
                  was done by hand; in the database of the service, or, where
                  that is gone for good, of the sender

Rows that are not dirty are restored by phase two in any case. The coordinator is
asked whether the transaction is aborted; no other is touched; not so for
--drop-action and --settle, which take no coordinator. The guard of an action without a
database is dropped with bare:NAME in place of DSN, and with --nats or --dir. Who did what to which row,
and why, is recorded in the table gtx_operator of the database.

`

// resolveOptions are the flags of gtx resolve.
type resolveOptions struct {
	retry, force, keep, assume, yes     bool
	table, key, reason, natsURL, dirLog string
	drop                                int64
	settle                              string
}

func (o *resolveOptions) define(fs *flag.FlagSet) {
	fs.BoolVar(&o.retry, "retry", false, "run phase two again")
	fs.BoolVar(&o.force, "force-before", false, "write the before images over the dirty rows")
	fs.BoolVar(&o.keep, "keep-current", false, "leave the dirty rows as they are")
	fs.Int64Var(&o.drop, "drop-action", 0, "forget the action of `branch`, as gtx show prints it")
	fs.StringVar(&o.settle, "settle", "", "the step of this `service` in a flow was undone by hand")
	fs.StringVar(&o.reason, "reason", "", "`why`, for the record; required")
	fs.StringVar(&o.table, "table", "", "only the dirty rows of this `table`")
	fs.StringVar(&o.key, "key", "", "only the row with this `key`, as gtx show prints it, or the beginning of it")
	fs.StringVar(&o.natsURL, "nats", "", "`URL` of the NATS server where the coordinator is")
	fs.StringVar(&o.dirLog, "dir", "", "`directory` of an embedded coordinator that does not run now")
	fs.BoolVar(&o.assume, "assume-aborted", false, "go on where no coordinator can be asked. If the transaction was committed, this database loses its effect")
	fs.BoolVar(&o.yes, "yes", false, "do not ask again; needed where the input is not a terminal")
}

func (o *resolveOptions) action() (undo.Action, error) {
	var chosen []undo.Action
	for _, a := range []struct {
		set bool
		undo.Action
	}{{o.retry, undo.Retry}, {o.force, undo.ForceBefore}, {o.keep, undo.KeepCurrent}} {
		if a.set {
			chosen = append(chosen, a.Action)
		}
	}
	switch {
	case len(chosen) != 1:
		return "", errors.New("want one of --retry, --force-before, --keep-current, --drop-action and --settle")
	case strings.TrimSpace(o.reason) == "":
		return "", errors.New("want a --reason, for the record")
	case o.retry && (o.table != "" || o.key != ""):
		return "", errors.New("--retry is for the whole transaction: not with --table or --key")
	case o.natsURL != "" && o.dirLog != "":
		return "", errors.New("want --nats or --dir, not both")
	case o.natsURL == "" && o.dirLog == "" && !o.assume:
		return "", errors.New("want --nats or --dir, to ask the coordinator whether the transaction is aborted")
	}
	return chosen[0], nil
}

// runResolve settles the dirty rows of one transaction in one database.
func runResolve(ctx context.Context, args []string, std stdio) error {
	var opts resolveOptions
	flags := flag.NewFlagSet("gtx resolve", flag.ContinueOnError)
	opts.define(flags)
	words, err := parseMixed(flags, resolveHelp, args, 2, std)
	if err != nil {
		return err
	}
	if opts.settle != "" {
		return opts.settleStep(ctx, words, std)
	}
	if opts.drop != 0 {
		return opts.dropAction(ctx, words, std)
	}
	action, err := opts.action()
	if err != nil {
		fmt.Fprintf(std.err, "gtx resolve: %v; gtx resolve -h explains\n", err)
		return errUsage
	}
	xid, err := gtx.ParseXID(words[1])
	if err != nil {
		return err
	}
	if !opts.yes && !isTerminal(std.in) {
		return errors.New("the input is not a terminal: look with gtx show, then say --yes")
	}
	c, closeBus, err := opts.coordinator(ctx)
	if err != nil {
		return err
	}
	defer closeBus()
	o, err := openOperator(words[0], c)
	if err != nil {
		return err
	}
	defer o.close()
	op := undo.Operation{XID: xid, Action: action, Who: osUser(), Reason: opts.reason, AssumeAborted: opts.assume}
	rows, err := o.res.Show(ctx, xid)
	if err != nil {
		return o.explain("read "+o.show, err)
	}
	if op.Table, op.KeyHash, err = choose(rows, opts.table, opts.key); err != nil {
		return err
	}
	if c == nil {
		fmt.Fprintf(std.err, "warning: no coordinator is asked. If %s was committed, %s loses its effect and the other databases keep it.\n", xid, o.show)
	}
	o.announce(std.out, &op, rows)
	if !opts.yes {
		if err := confirm(std); err != nil {
			return err
		}
	}
	done, err := o.res.Operate(ctx, op)
	if err != nil {
		return o.explain("settle "+o.show, err)
	}
	if action != undo.Retry {
		fmt.Fprintf(std.out, "%s %s, recorded for %s\n", rowCount(len(done.Rows)), map[undo.Action]string{
			undo.ForceBefore: "written back", undo.KeepCurrent: "left as now",
		}[action], op.Who)
	}
	if done.Left != nil {
		return fmt.Errorf("the transaction is still there: %w", done.Left)
	}
	_, err = fmt.Fprintf(std.out, "nothing of %s is left in %s\n", xid, o.show)
	return err
}

// coordinator gives nil where none is named.
func (o *resolveOptions) coordinator(ctx context.Context) (gtx.Coordinator, func(), error) {
	quiet := slog.New(slog.DiscardHandler)
	var bus *natsbus.Bus
	var err error
	switch {
	case o.natsURL != "":
		bus, err = natsbus.Connect(ctx, natsbus.Config{URL: o.natsURL, Logger: quiet})
	case o.dirLog != "":
		// A new log would know no transaction, and no guard.
		if _, err := os.Stat(filepath.Join(o.dirLog, "jetstream", "$G", "streams", "GTX_LOG")); err != nil {
			return nil, nil, fmt.Errorf("open the coordinator's directory: no decision log is there: %w", err)
		}
		bus, err = natsbus.Embedded(ctx, o.dirLog, natsbus.WithLogger(quiet))
		if errors.Is(err, natsbus.ErrInUse) {
			err = fmt.Errorf("%w; the program that runs it resolves by itself, or name its address with --nats", err)
		}
	default:
		return nil, func() {}, nil
	}
	switch {
	case err == nil:
		return bus, func() { bus.Close() }, nil
	case o.assume && errors.Is(err, gtx.ErrUnavailable):
		return nil, func() {}, nil
	}
	return nil, nil, err
}

// choose finds the rows that --table and --key mean. A table may be named without
// its quotes and its schema where that is one table only.
func choose(rows []undo.ShownRow, table, key string) (id, hash string, err error) {
	if table == "" && key == "" {
		return "", "", nil
	}
	type place struct{ table, hash string }
	var found []place
	tables := map[string]bool{}
	for _, r := range rows {
		plain := strings.NewReplacer("`", "", `"`, "").Replace(r.Table)
		_, last, _ := strings.Cut(plain, ".")
		if table != "" && table != r.Table && table != plain && table != last || !strings.HasPrefix(r.KeyHash, key) {
			continue
		}
		tables[r.Table] = true
		found = append(found, place{r.Table, r.KeyHash})
	}
	switch {
	case len(found) == 0:
		return "", "", errors.New("no undo row of the transaction is meant by --table and --key; gtx show lists them")
	case len(tables) > 1:
		return "", "", fmt.Errorf("--table and --key mean rows of %d tables: name the table as gtx show does", len(tables))
	case key == "":
		return found[0].table, "", nil
	case len(found) > 1:
		return "", "", fmt.Errorf("--key %s is the beginning of %d keys", clean(key), len(found))
	}
	return found[0].table, found[0].hash, nil
}

// announce tells what will be done, without values of rows.
func (o *operator) announce(w io.Writer, op *undo.Operation, rows []undo.ShownRow) {
	fmt.Fprintf(w, "%s %s in %s\n", op.Action, op.XID, o.show)
	for _, r := range rows {
		meant := op.Table == "" || op.Table == r.Table && (op.KeyHash == "" || op.KeyHash == r.KeyHash)
		switch {
		case !meant:
		case r.Dirty:
			fmt.Fprintf(w, "  dirty: %s key %s (%s)\n", clean(r.Table), clean(r.KeyHash), opName(r.Op))
		case r.Refused != "" && op.Action == undo.KeepCurrent:
			fmt.Fprintf(w, "  refused: %s key %s (%s)\n", clean(r.Table), clean(r.KeyHash), opName(r.Op))
		}
	}
}

func confirm(std stdio) error {
	fmt.Fprint(std.out, "This cannot be undone. Type yes to go on: ")
	line, err := bufio.NewReader(std.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		return errors.New("the answer was not yes: nothing was done")
	}
	return nil
}

// isTerminal takes every character device for one; /dev/null then gives no answer.
func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// osUser names who runs the command, for the record.
func osUser() string {
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return strings.ToValidUTF8(name[:min(len(name), 190)], "")
}

func rowCount(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}
