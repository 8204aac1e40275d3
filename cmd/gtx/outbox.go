package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
	"github.com/globaltx/globaltx/undo"
)

const outboxHelp = `Usage: gtx outbox DSN [--from outbox|INBOX] [--limit N]
       gtx outbox DSN --show ID [--from outbox|INBOX] [--full]
       gtx outbox DSN --replay ID|all [--from outbox|INBOX]
       gtx outbox DSN --drop ID [--from outbox|INBOX] --reason TEXT [--yes]

Looks after the messages of a database (natsbus/outbox, natsbus/inbox): how many wait
in its outbox, and for how long, and which are dead, in the outbox because no stream
takes them, in an inbox because its handler fails.

  --show    headers and body of a dead message. They may be secret, and are printed
            by this only
  --replay  of the outbox: give it back to the relay. Of an inbox: have it handled
            once more by whoever consumes
  --drop    forget it: it has no effect any more. Who did so, and why, is recorded in
            the table gtx_operator of the database

Without one of them nothing is changed. --from says where, when an id is dead in
several places.

`

// fromOutbox is what --from calls the outbox, and any inbox that has this name.
const fromOutbox = "outbox"

// outboxOptions are the flags of gtx outbox.
type outboxOptions struct {
	from, show, replay, drop, reason string
	full, yes                        bool
	limit                            int
}

func (o *outboxOptions) define(fs *flag.FlagSet) {
	fs.StringVar(&o.from, "from", "", "only dead messages of the `outbox`, or of the inbox with this name")
	fs.IntVar(&o.limit, "limit", 100, "list at most `N` dead messages of each")
	fs.StringVar(&o.show, "show", "", "print the dead message with this `ID`")
	fs.BoolVar(&o.full, "full", false, fmt.Sprintf("with --show: print headers and body beyond %d bytes", maxShown))
	fs.StringVar(&o.replay, "replay", "", "replay the dead message with this `ID`, or all")
	fs.StringVar(&o.drop, "drop", "", "forget the dead message with this `ID`")
	fs.StringVar(&o.reason, "reason", "", "`why`, for the record; required by --drop")
	fs.BoolVar(&o.yes, "yes", false, "with --drop: do not ask again; needed where the input is not a terminal")
}

// wrong tells what is wrong with the combination of flags.
func (o *outboxOptions) wrong() string {
	n := 0
	for _, s := range []string{o.show, o.replay, o.drop} {
		if s != "" {
			n++
		}
	}
	switch {
	case n > 1:
		return "want one of --show, --replay and --drop"
	case o.full && o.show == "":
		return "--full is for --show"
	case o.drop != "" && strings.TrimSpace(o.reason) == "":
		return "--drop wants a --reason, for the record"
	case o.drop == "" && (o.reason != "" || o.yes):
		return "--reason and --yes are for --drop"
	case o.limit < 1:
		return "--limit begins at 1"
	}
	return ""
}

// runOutbox looks after the messages of one database.
func runOutbox(ctx context.Context, args []string, std stdio) error {
	var opts outboxOptions
	flags := flag.NewFlagSet("gtx outbox", flag.ContinueOnError)
	opts.define(flags)
	words, err := parseMixed(flags, outboxHelp, args, 1, std)
	if err != nil {
		return err
	}
	if why := opts.wrong(); why != "" {
		fmt.Fprintf(std.err, "gtx outbox: %s; gtx outbox -h explains\n", why)
		return errUsage
	}
	if opts.drop != "" && !opts.yes && !isTerminal(std.in) {
		return errors.New("the input is not a terminal: look with --show, then say --yes")
	}
	at, err := openOperator(words[0], nil)
	if err != nil {
		return err
	}
	defer at.close()
	p, err := at.post(ctx, opts.from)
	if err != nil {
		return err
	}
	switch {
	case opts.show != "":
		return p.show(ctx, std.out, opts.show, opts.full)
	case opts.replay == "all":
		return p.replayAll(ctx, std.out)
	case opts.replay != "":
		return p.replay(ctx, std.out, opts.replay)
	case opts.drop != "":
		return p.drop(ctx, std, &opts)
	}
	return p.list(ctx, std.out, opts.limit)
}

// post is what a database has of messages.
type post struct {
	at   string         // the database, to be shown
	out  *outbox.Desk   // nil where there is none, or another place was named
	in   *inbox.Desk    // nil where there is none
	box  outbox.Backlog // of out
	ins  []inbox.Box    // those that were not excluded
	from string
}

// post looks what there is. from restricts it to one place.
func (o *operator) post(ctx context.Context, from string) (*post, error) {
	p := &post{at: o.show, from: from}
	out, missing := outbox.DeskOf(o.db, o.dialect), 0
	have, err := out.Backlog(ctx)
	switch {
	case err == nil && (from == "" || from == fromOutbox):
		p.out, p.box = out, have
	case err == nil:
	case o.dialect.Classify(err) == undo.NoTable:
		missing++
	default:
		return nil, fmt.Errorf("look at the outbox of %s: %w", o.show, err)
	}
	in, err := inbox.DeskOf(ctx, o.db, o.dialect)
	var boxes []inbox.Box
	if err == nil {
		boxes, err = in.Boxes(ctx)
	}
	switch {
	case err == nil:
		p.in = in
	case o.dialect.Classify(err) == undo.NoTable:
		missing++
	default:
		return nil, fmt.Errorf("look at the inboxes of %s: %w", o.show, err)
	}
	for _, b := range boxes {
		if from == "" || from == b.Name {
			p.ins = append(p.ins, b)
		}
	}
	switch {
	case missing == 2:
		return nil, fmt.Errorf("%s has no tables of messages: neither outbox.Open nor inbox.Open was called there", o.show)
	case from != "" && p.out == nil && len(p.ins) == 0:
		return nil, fmt.Errorf("%s has no %s: gtx outbox lists what there is", o.show, clean(from))
	}
	return p, nil
}

// list prints how many messages there are, and those that are dead.
func (p *post) list(ctx context.Context, out io.Writer, limit int) error {
	if p.out != nil {
		age := ""
		if p.box.Waiting > 0 {
			age = ", the oldest for " + p.box.Oldest.Round(time.Second).String()
		}
		fmt.Fprintf(out, "outbox: %s %s%s; %d dead\n", messageCount(p.box.Waiting), waits(p.box.Waiting), age, p.box.Dead)
	}
	for _, b := range p.ins {
		fmt.Fprintf(out, "inbox %s: %s failed, to be tried again; %d dead\n", b.Name, messageCount(b.Failing), b.Dead)
	}
	if p.out == nil && len(p.ins) == 0 {
		fmt.Fprintf(out, "no message was handled in %s yet\n", p.at)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := "\nFROM\tID\tSUBJECT\tKEY\tSIZE\tDEAD FOR\tDELIVERED\tWHY\n"
	line := func(from, id, subject, key string, size int64, at time.Time, delivered, why string) {
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", head, from, clean(id), clean(subject), clean(orDash(key)), size, time.Since(at).Round(time.Second), delivered, clean(why))
		head = ""
	}
	if p.out != nil {
		all, err := p.out.Dead(ctx, limit)
		if err != nil {
			return fmt.Errorf("%s: %w", p.at, err)
		}
		for _, d := range all {
			line(fromOutbox, d.ID, d.Subject, d.Key, d.Size, d.Died, "-", d.Error)
		}
	}
	for _, b := range p.ins {
		all, err := p.in.Dead(ctx, b.Name, limit)
		if err != nil {
			return fmt.Errorf("%s: %w", p.at, err)
		}
		for _, d := range all {
			why := d.Error
			if d.Replay {
				why = "(to be replayed) " + why
			}
			line(b.Name, d.ID, d.Subject, d.Header.Get(inbox.HeaderKey), d.Size, d.At, fmt.Sprint(d.Deliveries), why)
		}
	}
	return w.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func messageCount(n int64) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

func waits(n int64) string {
	if n == 1 {
		return "waits"
	}
	return "wait"
}
