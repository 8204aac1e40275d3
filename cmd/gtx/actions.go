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

// maxActions bounds what gtx ls reads of the guards of actions.
const maxActions = 1000

// actions lists the guards of a database, those of xid where it is not zero.
func (o *operator) actions(ctx context.Context, xid gtx.XID, onlyStuck bool) ([]tcc.Guard, error) {
	all, err := tcc.ListIn(ctx, o.db, o.dialect, xid, maxActions)
	if err != nil {
		return nil, fmt.Errorf("list actions of %s: %w", o.show, err)
	}
	return slices.DeleteFunc(all, func(g tcc.Guard) bool {
		return onlyStuck && g.Tries < tcc.DefaultStuckAfter
	}), nil
}

// writeActions prints a table of them. Arguments may be secret: they are not shown.
func writeActions(out io.Writer, all []tcc.Guard) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "XID\tAGE\tBRANCH\tACTION\tFAILED\tNEXT TRY\tWHY")
	for _, g := range all {
		next, why := "-", "-"
		if !g.RetryAt.IsZero() {
			next = stamp(g.RetryAt)
		}
		if g.Reason != "" {
			why = clean(g.Reason)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s v%d\t%d\t%s\t%s\n", g.XID, time.Since(g.Created).Round(time.Second), g.Branch, clean(g.Action), g.Version, g.Tries, next, why)
	}
	if len(all) == maxActions {
		fmt.Fprintf(w, "and perhaps more: at most %d are listed\n", maxActions)
	}
	return w.Flush()
}

// dropAction forgets one action. Nobody has to be asked for the decision: whichever it is,
// the operator has done what follows from it.
func (o *resolveOptions) dropAction(ctx context.Context, words []string, std stdio) error {
	if name, ok := strings.CutPrefix(words[0], barePrefix); ok {
		return o.dropBare(ctx, name, words[1], std)
	}
	if o.retry || o.force || o.keep || o.table != "" || o.key != "" || o.natsURL != "" || o.dirLog != "" || o.assume || strings.TrimSpace(o.reason) == "" {
		fmt.Fprintln(std.err, "gtx resolve: --drop-action wants a --reason, and nothing else but --yes; gtx resolve -h explains")
		return errUsage
	}
	xid, err := gtx.ParseXID(words[1])
	if err != nil {
		return err
	}
	if !o.yes && !isTerminal(std.in) {
		return errors.New("the input is not a terminal: look with gtx show, then say --yes")
	}
	at, err := openOperator(words[0], nil)
	if err != nil {
		return err
	}
	defer at.close()
	all, err := at.actions(ctx, xid, false)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(g tcc.Guard) bool { return g.Branch != gtx.BranchID(o.drop) })
	if err := writeActions(std.out, all); err != nil {
		return err
	}
	if !o.yes {
		if err := confirm(std); err != nil {
			return err
		}
	}
	if err := tcc.Drop(ctx, at.db, at.dialect, xid, gtx.BranchID(o.drop), osUser(), o.reason); err != nil {
		return fmt.Errorf("%s: %w", at.show, err)
	}
	_, err = fmt.Fprintf(std.out, "the action of branch %d of %s is forgotten in %s, recorded for %s\n", o.drop, xid, at.show, osUser())
	return err
}
