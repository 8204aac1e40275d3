package sqlite

import (
	"context"
	"fmt"
	"slices"

	"github.com/globaltx/globaltx/undo"
)

// fate is what became of the row of one key during a statement.
type fate struct {
	row
	was, is bool // there was a row before the statement, and is one after it
	touched int  // how many events had to do with it
	last    int  // number of the last of them
}

// net sums up the events of a statement key by key, in the order of the last
// event of each. A row whose key changes leaves one key and comes to another.
func (s *capture) net(events []event) ([]*fate, error) {
	fates := map[string]*fate{}
	step := 0
	touch := func(ident, key, before string, was, is bool) error {
		f := fates[ident]
		if f == nil {
			h, err := keyHash(s.Table, ident)
			if err != nil {
				return err
			}
			f = &fate{row: row{key: key, keyh: h, before: before}, was: was, is: was}
			fates[ident] = f
		}
		if f.is != was {
			return fmt.Errorf("capture statement on %s: the changes of a row do not follow from one another", s.Table.ID)
		}
		if is && !f.was {
			f.key = key
		}
		step++
		f.is, f.last = is, step
		f.touched++
		return nil
	}
	for _, e := range events {
		var err error
		switch {
		case e.op == undo.Insert:
			err = touch(e.nident, e.nkey, "", false, true)
		case e.op == undo.Delete:
			err = touch(e.oident, e.okey, e.oimg, true, false)
		case e.oident == e.nident:
			err = touch(e.oident, e.okey, e.oimg, true, true)
		default:
			if err = touch(e.oident, e.okey, e.oimg, true, false); err == nil {
				err = touch(e.nident, e.nkey, "", false, true)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	all := make([]*fate, 0, len(fates))
	for _, f := range fates {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *fate) int { return a.last - b.last })
	return all, nil
}

// writeNet writes the undo rows for the events of a statement that has run. All
// owners come first: a conflict wins over what a mixture of values may cause.
func (s *capture) writeNet(ctx context.Context, events []event) error {
	fates, err := s.net(events)
	if err != nil {
		return err
	}
	w := s.newWriter()
	defer w.close()
	for _, f := range fates {
		switch {
		case f.was && f.is:
			f.op = undo.Update
		case f.was:
			f.op = undo.Delete
		default:
			f.op = undo.Insert
		}
		if f.prior, err = w.owner(ctx, f.keyh); err != nil {
			return err
		}
		if err := s.clean(&f.row); err != nil {
			return err
		}
	}
	fates = slices.DeleteFunc(fates, func(f *fate) bool { return !f.was && !f.is })
	again := false
	for _, f := range fates {
		again = again || f.prior != nil || f.touched > 1 && len(fates) > 1
		if err := w.write(ctx, &f.row); err != nil {
			return err
		}
	}
	return s.orderBack(ctx, w, again)
}
