package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// report takes in what a service says of its step.
func (s *Service) report(ctx context.Context, tx *sql.Tx, e *envelope) error {
	f, err := s.lockFlow(ctx, tx, e.id)
	if errors.Is(err, ErrNotFound) || err == nil && f.Sender != s.cfg.Name {
		s.cfg.Logger.WarnContext(ctx, "flow: report about a flow that is not known", "flow", e.id, "from", e.from, "state", e.state.String())
		return nil
	}
	if err != nil {
		return err
	}
	p := f.party(e.from)
	switch {
	case p == nil:
		s.cfg.Logger.WarnContext(ctx, "flow: report of a service that the flow is not for", "flow", e.id, "from", e.from)
		return nil
	case p.State.over(), p.State == e.state && e.err == "":
		return nil // said before; reports have no order
	case f.State == Done: // nobody may fail after the last was done
		s.cfg.Logger.ErrorContext(ctx, "flow: step of a flow that is done is not any more", "flow", e.id, "from", e.from, "state", e.state.String())
	}
	p.State, p.Error, p.At = e.state, e.err, time.Now()
	if _, err := s.exec(ctx, tx, "write report", "UPDATE {to} SET state = ?, error = ?, at = ? WHERE flow = ? AND name = ?", int(p.State), p.Error, p.At.UnixMicro(), f.ID, p.Name); err != nil {
		return err
	}
	return s.settle(ctx, tx, f, p)
}

// settle moves a flow on after p has changed.
func (s *Service) settle(ctx context.Context, tx *sql.Tx, f *Flow, p *Party) error {
	switch {
	case f.State == Running && p.State.over():
		// It has told the others itself: they have time to answer.
		if err := s.turn(ctx, tx, f, p.Name+": "+p.Error, time.Now().Add(s.cfg.Resend)); err != nil {
			return err
		}
	case f.State == Running && f.all(func(x State) bool { return x == Done }):
		return s.end(ctx, tx, f, Done)
	}
	if f.State == Undoing && f.all(State.over) {
		return s.end(ctx, tx, f, Undone)
	}
	return nil
}

// turn has a flow fail.
func (s *Service) turn(ctx context.Context, tx *sql.Tx, f *Flow, why string, due time.Time) error {
	f.State, f.Error = Undoing, plain(why)
	_, err := s.exec(ctx, tx, "write failure of flow", "UPDATE {flow} SET state = ?, error = ?, due = ?, tries = 0 WHERE id = ?", int(f.State), f.Error, due.UnixMicro(), f.ID)
	return err
}

func (s *Service) end(ctx context.Context, tx *sql.Tx, f *Flow, state State) error {
	f.State, f.Ended, f.EndError = state, time.Now(), ""
	if _, err := s.exec(ctx, tx, "write end of flow", "UPDATE {flow} SET state = ?, ended = ?, end_error = '' WHERE id = ?", int(state), f.Ended.UnixMicro(), f.ID); err != nil {
		return err
	}
	s.mu.RLock()
	end := s.ends[f.Kind]
	s.mu.RUnlock()
	if end == nil {
		return nil
	}
	if err := run(ctx, tx, f, end); err != nil {
		return err
	}
	if s.d.Name() != "mysql" {
		return nil
	}
	is, err := s.readFlow(ctx, tx, f.ID, "")
	if err == nil && is.State != state {
		err = errRolledBack
	}
	return err
}

// run makes an error of a panic: not every way to the end goes through the inbox.
func run(ctx context.Context, tx *sql.Tx, f *Flow, end End) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &inbox.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return end(ctx, tx, f)
}

const (
	tendEvery  = time.Second
	purgeEvery = time.Minute
	tendBatch  = 100
	tendTime   = 30 * time.Second // of one flow
)

// tend asks those again that were not heard of, until ctx ends.
func (s *Service) tend(ctx context.Context, held string) {
	var purged time.Time
	for ctx.Err() == nil {
		n, err := s.tendDue(ctx, held)
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.WarnContext(ctx, "flow: services not asked again", "service", s.cfg.Name, "err", err)
		}
		if time.Since(purged) > purgeEvery {
			purged = time.Now()
			if err := s.purge(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Logger.WarnContext(ctx, "flow: old rows not removed", "service", s.cfg.Name, "err", err)
			}
		}
		if n == tendBatch && err == nil {
			continue
		}
		t := time.NewTimer(tendEvery/2 + rand.N(tendEvery))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// due is a flow for which it is time to ask.
type due struct {
	id    string
	at    int64
	tries int
}

// tendDue asks for the flows whose time has come, at most tendBatch, and counts them.
func (s *Service) tendDue(ctx context.Context, held string) (int, error) {
	// A flow whose global transaction is undecided has not begun.
	rows, err := s.db.QueryContext(ctx, s.text(fmt.Sprintf("SELECT f.id, f.due, f.tries FROM {flow} f WHERE f.sender = ? AND f.state IN (%d, %d) AND f.due <= ? AND %s IS NULL ORDER BY f.due LIMIT %d",
		Running, Undoing, held, tendBatch)), s.cfg.Name, now())
	if err != nil {
		return 0, fmt.Errorf("look for flows: %w", err)
	}
	var all []due
	for rows.Next() {
		var d due
		if err = rows.Scan(&d.id, &d.at, &d.tries); err != nil {
			break
		}
		all = append(all, d)
	}
	rows.Close()
	if err := errors.Join(err, rows.Err()); err != nil {
		return 0, fmt.Errorf("look for flows: %w", err)
	}
	for _, d := range all {
		if ctx.Err() != nil {
			break
		}
		if aerr := s.ask(ctx, d); aerr != nil {
			err = fmt.Errorf("flow %s: %w", d.id, errors.Join(aerr, s.putOff(ctx, d)))
		}
	}
	return len(all), err
}

// putOff has a flow that cannot be asked about wait, so that it does not keep others from
// their turn.
func (s *Service) putOff(ctx context.Context, d due) error {
	ctx, cancel := context.WithTimeout(gtx.Detach(ctx), tendTime)
	defer cancel()
	_, err := s.exec(ctx, s.db, "put off flow", "UPDATE {flow} SET due = ? WHERE id = ? AND due = ?", time.Now().Add(s.pause(1)).UnixMicro(), d.id, d.at)
	return err
}

// ask sends the messages of a flow again, unless another process has just done so.
func (s *Service) ask(ctx context.Context, d due) error {
	ctx, cancel := context.WithTimeout(gtx.Detach(ctx), tendTime)
	defer cancel()
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	next := time.Now().Add(s.pause(d.tries + 1))
	n, err := s.exec(ctx, tx, "claim flow", "UPDATE {flow} SET due = ?, tries = tries + 1 WHERE id = ? AND due = ?", next.UnixMicro(), d.id, d.at)
	if err != nil || n == 0 {
		return err
	}
	f, err := s.lockFlow(ctx, tx, d.id)
	if err != nil {
		return err
	}
	if late := time.Now(); f.State == Running && !late.Before(f.Deadline) {
		if err := s.turn(ctx, tx, f, fmt.Sprintf("not all done after %s", f.Deadline.Sub(f.Began)), late.Add(s.cfg.Resend)); err != nil {
			return err
		}
	}
	e := &envelope{id: f.ID, kind: f.Kind, op: opDo, sender: f.Sender, from: s.cfg.Name, began: f.Began.UnixMicro()}
	for _, p := range f.To {
		e.to = append(e.to, p.Name)
	}
	again := func(x State) bool { return x == Waiting }
	switch f.State {
	case Running:
		if f.Deadline.Before(next) { // to look in time
			if _, err := s.exec(ctx, tx, "claim flow", "UPDATE {flow} SET due = ? WHERE id = ?", f.Deadline.UnixMicro(), f.ID); err != nil {
				return err
			}
		}
	case Undoing:
		if f.all(State.over) { // the last by an operator
			if err := s.end(ctx, tx, f, Undone); err != nil {
				return err
			}
			break
		}
		e.op, e.err = opUndo, f.Error
		again = func(x State) bool { return !x.over() }
	default:
		return nil // ended meanwhile
	}
	for _, p := range f.To {
		if !again(p.State) {
			continue
		}
		err := s.tell(ctx, tx, e.message(p.Name, f.Header, f.Body))
		if errors.Is(err, outbox.ErrMessage) {
			// Nothing was written: that the flow has failed is to be kept all the same.
			s.cfg.Logger.ErrorContext(ctx, "flow: message cannot be sent", "flow", f.ID, "to", p.Name, "op", e.op, "err", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// pause is how long to wait after having asked n times.
func (s *Service) pause(n int) time.Duration {
	d := s.cfg.Resend
	for range n {
		if d >= maxResend {
			break
		}
		d = min(2*d, maxResend)
	}
	return d*3/4 + rand.N(d/2+1)
}
