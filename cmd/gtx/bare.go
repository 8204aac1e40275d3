package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
)

// barePrefix stands before the name of bare actions (tcc.Bare), in place of a DSN.
const barePrefix = "bare:"

// listBare lists the guards of actions without a database.
func (o *resolveOptions) listBare(ctx context.Context, onlyStuck bool, out io.Writer) error {
	c, closeBus, err := o.coordinator(ctx)
	if err != nil {
		return err
	}
	defer closeBus()
	all, err := tcc.ListBare(ctx, c, "")
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(g tcc.BareGuard) bool { return onlyStuck && g.Tries < tcc.DefaultStuckAfter })
	if len(all) == 0 {
		_, err = fmt.Fprintln(out, "the coordinator keeps no guard of an action without a database that is asked for")
		return err
	}
	return writeBare(out, all)
}

// writeBare prints a table of them. Arguments may be secret: they are not shown.
func writeBare(out io.Writer, all []tcc.BareGuard) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "XID\tAGE\tBRANCH\tNAME\tACTION\tSTATE\tFAILED\tNEXT TRY\tWHY")
	for _, g := range all {
		next := "-"
		if !g.RetryAt.IsZero() {
			next = stamp(g.RetryAt)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s v%d\t%s\t%d\t%s\t%s\n", g.XID, time.Since(g.Created).Round(time.Second), g.Branch,
			clean(g.Name), clean(g.Action), g.Version, clean(g.State), g.Tries, next, clean(orDash(g.Reason)))
	}
	return w.Flush()
}

// dropBare forgets one action without a database. The coordinator keeps no record of it.
func (o *resolveOptions) dropBare(ctx context.Context, name, xidText string, std stdio) error {
	if o.retry || o.force || o.keep || o.table != "" || o.key != "" || o.assume || (o.natsURL == "") == (o.dirLog == "") || strings.TrimSpace(o.reason) == "" {
		fmt.Fprintln(std.err, "gtx resolve: --drop-action of bare:NAME wants --nats or --dir, a --reason, and nothing else but --yes; gtx resolve -h explains")
		return errUsage
	}
	xid, err := gtx.ParseXID(xidText)
	if err != nil {
		return err
	}
	if !o.yes && !isTerminal(std.in) {
		return errors.New("the input is not a terminal: look with gtx ls, then say --yes")
	}
	c, closeBus, err := o.coordinator(ctx)
	if err != nil {
		return err
	}
	defer closeBus()
	all, err := tcc.ListBare(ctx, c, name)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(g tcc.BareGuard) bool { return g.XID != xid || g.Branch != gtx.BranchID(o.drop) })
	if len(all) > 0 {
		if err := writeBare(std.out, all); err != nil {
			return err
		}
	}
	if !o.yes {
		if err := confirm(std); err != nil {
			return err
		}
	}
	if err := tcc.DropBare(ctx, c, name, xid, gtx.BranchID(o.drop)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "the action of branch %d of %s is forgotten by %s, because: %s. Keep this line: nothing else records it\n", o.drop, xid, osUser(), clean(o.reason))
	return err
}
