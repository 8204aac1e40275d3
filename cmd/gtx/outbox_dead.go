package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// deadMessage is one of the outbox or of an inbox.
type deadMessage struct {
	from         string // fromOutbox or the name of the inbox
	inbox        bool
	id, subject  string
	key, why     string
	at           time.Time
	header       nats.Header
	body         []byte
	headerBroken bool
}

// find gives the dead message with an id, which must be one.
func (p *post) find(ctx context.Context, id string) (*deadMessage, error) {
	var all []*deadMessage
	if p.out != nil {
		d, err := p.out.DeadMessage(ctx, id)
		switch {
		case err == nil:
			all = append(all, &deadMessage{fromOutbox, false, d.ID, d.Subject, d.Key, d.Error, d.Died, d.Header, d.Body, d.Header == nil})
		case !errors.Is(err, outbox.ErrNotDead):
			return nil, fmt.Errorf("%s: %w", p.at, err)
		}
	}
	for _, b := range p.ins {
		d, err := p.in.DeadMessage(ctx, b.Name, id)
		switch {
		case err == nil:
			all = append(all, &deadMessage{b.Name, true, d.ID, d.Subject, d.Header.Get(inbox.HeaderKey), d.Error, d.At, d.Header, d.Body, false})
		case !errors.Is(err, inbox.ErrNotDead):
			return nil, fmt.Errorf("%s: %w", p.at, err)
		}
	}
	switch len(all) {
	case 0:
		return nil, fmt.Errorf("no dead message %s in %s", clean(id), p.at)
	case 1:
		return all[0], nil
	}
	var places []string
	for _, d := range all {
		places = append(places, d.from)
	}
	return nil, fmt.Errorf("message %s is dead in %s: say --from", clean(id), strings.Join(places, " and "))
}

// place is where the message is, for people.
func (d *deadMessage) place() string {
	if d.inbox {
		return "inbox " + d.from
	}
	return "the outbox"
}

// show prints a message as a whole.
func (p *post) show(ctx context.Context, out io.Writer, id string, full bool) error {
	d, err := p.find(ctx, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "message %s in %s of %s\ndead since %s: %s\nsubject: %s\nkey: %s\n", clean(d.id), d.place(), p.at, stamp(d.at), clean(d.why), clean(d.subject), clean(orDash(d.key)))
	value := plainValue(full)
	if d.headerBroken {
		fmt.Fprintln(out, "its headers cannot be read")
	}
	for _, name := range slices.Sorted(maps.Keys(d.header)) {
		for _, v := range d.header[name] {
			fmt.Fprintf(out, "header %s: %s\n", clean(name), value(v))
		}
	}
	_, err = fmt.Fprintf(out, "body, %d bytes:\n%s\n", len(d.body), value(string(d.body)))
	return err
}

func (p *post) replay(ctx context.Context, out io.Writer, id string) error {
	d, err := p.find(ctx, id)
	if err != nil {
		return err
	}
	if d.inbox {
		err = p.in.Replay(ctx, d.from, d.id)
	} else {
		err = p.out.Replay(ctx, d.id)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.at, err)
	}
	return replayed(out, d.inbox, d.place(), 1)
}

func (p *post) replayAll(ctx context.Context, out io.Writer) error {
	if p.out != nil {
		n, err := p.out.ReplayAll(ctx)
		if err == nil {
			err = replayed(out, false, "the outbox", n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.at, err)
		}
	}
	for _, b := range p.ins {
		n, err := p.in.ReplayAll(ctx, b.Name)
		if err == nil {
			err = replayed(out, true, "inbox "+b.Name, n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.at, err)
		}
	}
	return nil
}

func replayed(out io.Writer, isInbox bool, place string, n int) (err error) {
	switch {
	case n == 0:
		_, err = fmt.Fprintf(out, "%s: nothing is dead\n", place)
	case isInbox:
		_, err = fmt.Fprintf(out, "%s: %s to be handled once more by a process that consumes\n", place, messageCount(int64(n)))
	default:
		_, err = fmt.Fprintf(out, "%s: %s given back to the relay\n", place, messageCount(int64(n)))
	}
	return err
}

func (p *post) drop(ctx context.Context, std stdio, opts *outboxOptions) error {
	d, err := p.find(ctx, opts.drop)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "drop message %s of %s in %s, subject %s: %s\n", clean(d.id), d.place(), p.at, clean(d.subject), clean(d.why))
	if !opts.yes {
		if err := confirm(std); err != nil {
			return err
		}
	}
	if d.inbox {
		err = p.in.Drop(ctx, d.from, d.id, osUser(), opts.reason)
	} else {
		err = p.out.Drop(ctx, d.id, osUser(), opts.reason)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.at, err)
	}
	_, err = fmt.Fprintf(std.out, "message %s is forgotten, recorded for %s\n", clean(d.id), osUser())
	return err
}
