package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/inbox"
)

// lockWait bounds how long a message waits for another of its flow.
const lockWait = 5 * time.Second

// errRolledBack: MySQL ends the whole local transaction after a deadlock, and goes on without
// one where an error was taken for nothing. A report would then tell what is not so.
var errRolledBack = fmt.Errorf("the server has rolled back the local transaction of a function that did not return its error: %w", gtx.ErrConflict)

func (s *Service) step(kind string) (Step, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	step, ok := s.steps[kind]
	return step, ok
}

// do runs the share of this service, unless its row says what became of it.
func (s *Service) do(ctx context.Context, tx *sql.Tx, e *envelope, m *inbox.Message) error {
	added, err := s.addStepSoon(ctx, tx, e, Done)
	if err != nil {
		return err
	}
	if !added {
		return s.retell(ctx, tx, e)
	}
	if s.old(e) {
		return inbox.Permanent(errOld)
	}
	step, ok := s.step(e.kind)
	if !ok { // its code may come; if not, the flow's time ends
		return inbox.Retry(fmt.Errorf("no Do for flows of kind %s here: Handle sets it", e.kind))
	}
	if err := step.Do(ctx, tx, e.forUser(m)); err != nil {
		return err
	}
	return s.answer(ctx, tx, e, Done)
}

// undo takes back what do has committed, or bars it.
func (s *Service) undo(ctx context.Context, tx *sql.Tx, e *envelope, m *inbox.Message) error {
	// A Do whose local transaction was open at the first look is there at the second.
	for range 2 {
		n, err := s.exec(ctx, tx, "undo step", "UPDATE {step} SET state = ?, error = ?, at = ? WHERE consumer = ? AND flow = ? AND state = ?",
			int(Undone), e.err, now(), s.cfg.Name, e.id, int(Done))
		if err != nil {
			return inbox.Retry(err)
		}
		if n == 1 {
			step, ok := s.step(e.kind)
			if !ok {
				return fmt.Errorf("no Undo for flows of kind %s here: Handle sets it", e.kind)
			}
			if err := step.Undo(ctx, tx, e.forUser(m)); inbox.IsRetry(err) {
				return errors.New(err.Error()) // counted, so that it is seen
			} else if err != nil {
				return err
			}
			return s.answer(ctx, tx, e, Undone)
		}
		added, err := s.addStepSoon(ctx, tx, e, Barred)
		if err != nil {
			return err
		}
		if added {
			if s.old(e) {
				return inbox.Permanent(errOld)
			}
			return s.answer(ctx, tx, e, Barred)
		}
		state, _, err := s.stepState(ctx, tx, s.cfg.Name, e.id)
		if err != nil {
			return err
		}
		if state != Done {
			break
		}
	}
	return s.retell(ctx, tx, e)
}

// old tells that a row of the step may have been removed.
func (s *Service) old(e *envelope) bool {
	return time.Since(time.UnixMicro(e.began)) > s.cfg.Keep
}

// addStepSoon is addStep with a bound for the wait, which is no fault of the message.
func (s *Service) addStepSoon(ctx context.Context, tx *sql.Tx, e *envelope, state State) (bool, error) {
	wctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	cause := ""
	if state != Done {
		cause = e.err
	}
	added, err := s.addStep(wctx, tx, s.cfg.Name, e, state, cause)
	return added, inbox.Retry(err)
}

// answer reports a state that this local transaction has written.
func (s *Service) answer(ctx context.Context, tx *sql.Tx, e *envelope, state State) error {
	if s.d.Name() == "mysql" {
		is, _, err := s.stepState(ctx, tx, s.cfg.Name, e.id)
		if err != nil {
			return err
		}
		if is != state {
			return errRolledBack
		}
	}
	cause := ""
	if state != Done {
		cause = e.err
	}
	return s.tell(ctx, tx, s.reportOf(e, state, cause))
}

// retell reports the state of a step once more.
func (s *Service) retell(ctx context.Context, tx *sql.Tx, e *envelope) error {
	state, cause, err := s.stepState(ctx, tx, s.cfg.Name, e.id)
	switch {
	case err != nil:
		return err
	case state == Waiting: // its row is gone again, or not yet there to see
		return inbox.Retry(errors.New("another message of the flow is being handled"))
	case state == Done && e.op == opUndo:
		return inbox.Retry(errors.New("the step is done meanwhile"))
	}
	return s.tell(ctx, tx, s.reportOf(e, state, cause))
}

func (s *Service) reportOf(e *envelope, state State, cause string) outboxMessage {
	r := *e
	r.op, r.from, r.state, r.err = opReport, s.cfg.Name, state, cause
	return r.message(e.sender, nil, nil)
}

// fail writes that Do has failed for good, and tells everybody: the other services, which
// look whether they are done, and the sender.
func (s *Service) fail(ctx context.Context, tx *sql.Tx, e *envelope, m *inbox.Message, cause error) error {
	text := plain(cause.Error())
	added, err := s.addStep(ctx, tx, s.cfg.Name, e, Failed, text)
	if err != nil {
		return err
	}
	if !added {
		return s.retell(ctx, tx, e)
	}
	undo := *e
	undo.op, undo.from, undo.err = opUndo, s.cfg.Name, plain(s.cfg.Name+": "+text)
	for _, name := range e.to {
		if name == s.cfg.Name {
			continue
		}
		if err := s.tell(ctx, tx, undo.message(name, m.Header, m.Body)); err != nil {
			return err
		}
	}
	return s.tell(ctx, tx, s.reportOf(e, Failed, text))
}

// stuck writes and tells that Undo fails. The sender asks again.
func (s *Service) stuck(ctx context.Context, tx *sql.Tx, e *envelope, cause error) error {
	text := plain("undo: " + cause.Error())
	// at too, so that the row is not removed for its age.
	n, err := s.exec(ctx, tx, "note error of step", "UPDATE {step} SET error = ?, at = ? WHERE consumer = ? AND flow = ? AND state = ?",
		text, now(), s.cfg.Name, e.id, int(Done))
	if err != nil || n == 0 {
		return err
	}
	return s.tell(ctx, tx, s.reportOf(e, Done, text))
}
