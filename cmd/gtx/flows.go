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

	"github.com/globaltx/globaltx/natsbus/flow"
)

// maxFlows bounds what gtx ls reads of the flows that have not ended.
const maxFlows = 1000

// flows lists those that were started from a database and have not ended.
func (o *operator) flows(ctx context.Context, onlyStuck bool) ([]flow.Flow, error) {
	all, err := flow.List(ctx, o.db, o.dialect, maxFlows)
	if err != nil {
		return nil, fmt.Errorf("list flows of %s: %w", o.show, err)
	}
	return slices.DeleteFunc(all, func(f flow.Flow) bool { return onlyStuck && !f.Stuck() }), nil
}

// writeFlows prints a table of them.
func writeFlows(out io.Writer, all []flow.Flow) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FLOW\tAGE\tSENDER\tKIND\tSTATE\tSERVICES\tWHY")
	for i := range all {
		f := &all[i]
		why := "-"
		if text := whyFlow(f); text != "" {
			why = clean(text)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(f.ID), time.Since(f.Began).Round(time.Second), clean(f.Sender), clean(f.Kind), f.State, parties(f), why)
	}
	if len(all) == maxFlows {
		fmt.Fprintf(w, "and perhaps more: at most %d are listed\n", maxFlows)
	}
	return w.Flush()
}

// parties counts the services of a flow by state: "2 done, 1 waiting".
func parties(f *flow.Flow) (text string) {
	for _, state := range []flow.State{flow.Done, flow.Failed, flow.Barred, flow.Undone, flow.Waiting} {
		n := 0
		for _, p := range f.To {
			if p.State == state {
				n++
			}
		}
		if n == 0 {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%d %s", n, state)
	}
	return text
}

// whyFlow is what keeps a flow from its end, or why it has failed.
func whyFlow(f *flow.Flow) string {
	if f.EndError != "" {
		return "its end: " + f.EndError
	}
	for _, p := range f.To {
		if p.State == flow.Done && p.Error != "" {
			return p.Name + ": " + p.Error
		}
	}
	return f.Error
}

// showFlow prints what a database knows of a flow. Headers and body may be secret: they are
// not shown.
func showFlow(ctx context.Context, dsn, id string, std stdio) error {
	o, err := openOperator(dsn, nil)
	if err != nil {
		return err
	}
	defer o.close()
	f, steps, err := flow.Find(ctx, o.db, o.dialect, id)
	if errors.Is(err, flow.ErrNotFound) {
		return fmt.Errorf("no flow %s in %s: it was neither started there nor has a service with this database a step in it", id, o.show)
	}
	if err != nil {
		return fmt.Errorf("read flow of %s: %w", o.show, err)
	}
	fmt.Fprintf(std.out, "flow %s in %s\n", id, o.show)
	if f != nil {
		fmt.Fprintf(std.out, "started by %s as %s at %s, time until %s\n", clean(f.Sender), clean(f.Kind), stamp(f.Began), stamp(f.Deadline))
		fmt.Fprintf(std.out, "%s", f.State)
		if !f.Ended.IsZero() {
			fmt.Fprintf(std.out, " since %s", stamp(f.Ended))
		}
		if f.Error != "" {
			fmt.Fprintf(std.out, ", failed because of %s", clean(f.Error))
		}
		fmt.Fprintln(std.out)
		if f.EndError != "" {
			fmt.Fprintf(std.out, "its end is tried again: %s\n", clean(f.EndError))
		}
		w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SERVICE\tSTATE\tSINCE\tWHY")
		for _, p := range f.To {
			writeStep(w, p.Name, p.State, p.At, p.Error)
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("print flow: %w", err)
		}
	}
	if len(steps) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP HERE\tSTATE\tSINCE\tWHY")
	for _, r := range steps {
		writeStep(w, r.Consumer, r.State, r.At, r.Error)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print flow: %w", err)
	}
	return nil
}

func writeStep(w io.Writer, name string, state flow.State, at time.Time, cause string) {
	since, why := "-", "-"
	if !at.IsZero() {
		since = stamp(at)
	}
	if cause != "" {
		why = clean(cause)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", clean(name), state, since, why)
}

// settleStep ends the wait for an Undo that somebody has done by hand.
func (o *resolveOptions) settleStep(ctx context.Context, words []string, std stdio) error {
	if o.retry || o.force || o.keep || o.drop != 0 || o.table != "" || o.key != "" || o.natsURL != "" || o.dirLog != "" || o.assume || strings.TrimSpace(o.reason) == "" {
		fmt.Fprintln(std.err, "gtx resolve: --settle wants a --reason, and nothing else but --yes; gtx resolve -h explains")
		return errUsage
	}
	if !flow.ID(words[1]) {
		return fmt.Errorf("%.80q is not the id of a flow: want 32 hexadecimal digits", words[1])
	}
	if !o.yes {
		if !isTerminal(std.in) {
			return errors.New("the input is not a terminal: look with gtx show, then say --yes")
		}
		if err := showFlow(ctx, words[0], words[1], std); err != nil {
			return err
		}
		if err := confirm(std); err != nil {
			return err
		}
	}
	at, err := openOperator(words[0], nil)
	if err != nil {
		return err
	}
	defer at.close()
	err = flow.Settle(ctx, at.db, at.dialect, o.settle, words[1], osUser(), o.reason)
	if errors.Is(err, flow.ErrNotStuck) {
		return fmt.Errorf("%s: nothing to settle: service %s has no step in flow %s whose Undo has failed, and no flow that fails waits for it", at.show, clean(o.settle), words[1])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at.show, err)
	}
	_, err = fmt.Fprintf(std.out, "the step of %s in flow %s counts as undone in %s, recorded for %s\n", clean(o.settle), words[1], at.show, osUser())
	return err
}
