package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/undo"
)

const showHelp = `Usage: gtx show DSN XID [--redact] [--full]
       gtx show DSN FLOW

Shows the undo rows of a global transaction, newest first, beside the rows that
they protect: before the transaction, and now. A star marks what differs. Values
are printed as the server writes them as text, on SQLite as literals. Of the state
that the transaction left only a digest is kept: it is said whether the row still
is in it. Prepared branches of modes XA and 3PC are named; what they hold the server
does not tell. Actions (TCC) are listed without their arguments.

Of a flow (natsbus/flow), by its 32 hexadecimal digits, the state is shown, at the
sender that of all services. Nothing is changed.

`

// maxShown is how many bytes of a value are printed without --full.
const maxShown = 200

// runShow prints one transaction of one database.
func runShow(ctx context.Context, args []string, std stdio) error {
	flags := flag.NewFlagSet("gtx show", flag.ContinueOnError)
	redact := flags.Bool("redact", false, "print no value: its length instead, and a digest that is new with each run, so that equal ones are seen")
	full := flags.Bool("full", false, fmt.Sprintf("print values longer than %d bytes to their end", maxShown))
	words, err := parseMixed(flags, showHelp, args, 2, std)
	if err != nil {
		return err
	}
	if flow.ID(words[1]) {
		return showFlow(ctx, words[0], words[1], std)
	}
	xid, err := gtx.ParseXID(words[1])
	if err != nil {
		return err
	}
	o, err := openOperator(words[0], nil)
	if err != nil {
		return err
	}
	defer o.close()
	rows, err := o.res.Show(ctx, xid)
	if err != nil {
		return o.explain("read "+o.show, err)
	}
	stuck, err := o.res.Stuck(ctx)
	if err != nil {
		return o.explain("read "+o.show, err)
	}
	prepared, _, err := o.prepared(ctx)
	if err != nil {
		return o.explain("list prepared branches of "+o.show, err)
	}
	prepared = slices.DeleteFunc(prepared, func(b preparedBranch) bool { return b.XID != xid })
	actions, err := o.actions(ctx, xid, false)
	if err != nil {
		return err
	}
	if len(rows)+len(prepared)+len(actions) == 0 {
		return fmt.Errorf("no undo row of %s in %s, and no prepared branch or action", xid, o.show)
	}
	p := printer{w: std.out, value: plainValue(*full)}
	if *redact {
		p.value = redactedValue()
	}
	fmt.Fprintf(p.w, "global transaction %s in %s\n", xid, o.show)
	for _, s := range stuck {
		if s.XID == xid {
			fmt.Fprintf(p.w, "stuck since %s: %s\n", stamp(s.Since), clean(s.Reason))
		}
	}
	if err := writePrepared(p.w, prepared, ""); err != nil {
		return err
	}
	if err := writeActions(p.w, actions); err != nil {
		return err
	}
	for i := range rows {
		if err := p.row(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// printer writes rows for people.
type printer struct {
	w     io.Writer
	value func(string) string
}

func (p printer) text(v *string) string {
	if v == nil {
		return "NULL"
	}
	return p.value(*v)
}

func (p printer) row(r *undo.ShownRow) error {
	var key []string
	for _, k := range r.Key {
		key = append(key, clean(k.Column)+"="+p.text(k.Value))
	}
	fmt.Fprintf(p.w, "\n%s %s\n  %s in branch %d, seq %d, key %s\n  %s\n",
		clean(r.Table), strings.Join(key, " "), opName(r.Op), r.Branch, r.Seq, clean(r.KeyHash), clean(state(r)))
	if r.Problem != "" {
		return nil
	}
	w := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "    column\tbefore\tnow")
	for _, c := range r.Columns {
		before, now, star := "(no row)", "(no row)", " "
		if r.HadBefore {
			before = p.text(c.Before)
		}
		if r.Exists {
			now = p.text(c.Now)
		}
		if r.HadBefore != r.Exists || (c.Before == nil) != (c.Now == nil) || c.Before != nil && *c.Before != *c.Now {
			star = "*"
		}
		fmt.Fprintf(w, "  %s %s\t%s\t%s\n", star, clean(c.Column), before, now)
	}
	return w.Flush()
}

func opName(op undo.Op) string {
	switch op {
	case undo.Insert:
		return "inserted"
	case undo.Update:
		return "updated"
	case undo.Delete:
		return "deleted"
	}
	return "changed (" + string(op) + ")"
}

func state(r *undo.ShownRow) string {
	switch {
	case r.Problem != "":
		return "DIRTY: " + r.Problem
	case r.Dirty:
		return "DIRTY: now is neither what was before nor what the transaction left"
	case r.Refused != "":
		return "REFUSED: " + r.Refused
	case r.Restored:
		return "clean: now equals what was before"
	default:
		return "clean: now equals what the transaction left"
	}
}

// plainValue prints a value; what could be misread or steer a terminal is quoted.
func plainValue(full bool) func(string) string {
	return func(v string) string {
		tail := ""
		if n := maxShown; !full && len(v) > n {
			for n > 0 && !utf8.RuneStart(v[n]) {
				n--
			}
			v, tail = v[:n], fmt.Sprintf("... (%d bytes)", len(v))
		}
		odd := v == "" || v == "NULL" || v != strings.TrimSpace(v) || !utf8.ValidString(v) ||
			strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) })
		if odd {
			v = strconv.Quote(v)
		}
		return v + tail
	}
}

// redactedValue prints a length and a digest. The digest has a key of its own, for
// a bare one of a small number is the number for everybody who can count.
func redactedValue() func(string) string {
	var key [32]byte
	rand.Read(key[:]) // never fails
	return func(v string) string {
		h := hmac.New(sha256.New, key[:])
		io.WriteString(h, v) //nolint:errcheck // a hash takes everything
		return fmt.Sprintf("<%d bytes, %x>", len(v), h.Sum(nil)[:4])
	}
}
