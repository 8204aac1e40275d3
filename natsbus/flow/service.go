package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/undo"
)

// Step is a service's share of flows of one kind. Both functions write with tx, and neither
// commit nor roll back; their context ends after Config.Timeout.
type Step struct {
	// Do does the share. inbox.Permanent marks an error that no further try would mend:
	// the flow fails. Other errors, and panics, are tried again, Config.MaxTries times;
	// those marked with inbox.Retry, and conflicts of the database, for as long as the
	// flow runs.
	Do func(ctx context.Context, tx *sql.Tx, m *Message) error
	// Undo takes back what Do has committed, later: others may have seen and changed it.
	// Its errors are tried again for ever.
	Undo func(ctx context.Context, tx *sql.Tx, m *Message) error
}

// End is what a sender does when a flow has ended, Done or Undone: in the local transaction
// that writes so. An error has it tried again.
type End func(ctx context.Context, tx *sql.Tx, f *Flow) error

// Service takes part in flows: as a sender of some, with a step in others. Safe for
// concurrent use.
type Service struct {
	cfg   Config
	in    *inbox.Inbox
	about driver.Database
	store

	// mu protects the following.
	mu    sync.RWMutex
	steps map[string]Step
	ends  map[string]End
}

// Open makes the tables where they are missing, also those of the inbox, whose name is
// "flow-" and Config.Name. A driver of this module must have opened db, which the caller
// closes.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Service, error) {
	if err := cfg.fill(); err != nil {
		return nil, fmt.Errorf("open flow service: %w", err)
	}
	about, err := driver.DatabaseOf(db)
	if err != nil {
		return nil, fmt.Errorf("open flow service: %w", err)
	}
	if id, err := about.Identity(gtx.Detach(ctx)); err != nil || id != cfg.Outbox.Source() {
		return nil, errors.Join(err, fmt.Errorf("open flow service: Config.Outbox is of database %s, and this is %s: open one with the same database", cfg.Outbox.Source(), id))
	}
	if cfg.Logger == nil {
		cfg.Logger = about.Logger()
	}
	d := about.Dialect()
	n := namesOf(d.Name())
	s := &Service{cfg: cfg, about: about, store: store{db, d, n}, steps: map[string]Step{}, ends: map[string]End{}}
	s.in, err = inbox.Open(ctx, db, inbox.Config{
		Name: "flow-" + cfg.Name, JetStream: cfg.JetStream, MaxTries: cfg.MaxTries, Timeout: cfg.Timeout,
		GiveUp: s.giveUp, Keep: cfg.Keep, Context: cfg.Context, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open flow service: %w", err)
	}
	if err := undo.CreateTables(gtx.Detach(ctx), db, d, n.all(), schema(d.Name(), n)); err != nil {
		return nil, fmt.Errorf("open flow service: %w", err)
	}
	return s, nil
}

// Handle sets what this service does in flows of a kind. Before Run: a Do whose kind nobody
// handles waits, an Undo fails.
func (s *Service) Handle(kind string, step Step) error {
	switch {
	case !nameOK.MatchString(kind):
		return fmt.Errorf("handle flows of kind %q: want 1 to 59 letters, digits, - and _", kind)
	case step.Do == nil || step.Undo == nil:
		return fmt.Errorf("handle flows of kind %s: want both a Do and an Undo", kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.steps[kind]; ok {
		return fmt.Errorf("handle flows of kind %s: they are handled already", kind)
	}
	s.steps[kind] = step
	return nil
}

// OnEnd sets what this service does when a flow of a kind that it has started ends. Before
// Run: a flow that ends without is ended all the same.
func (s *Service) OnEnd(kind string, end End) error {
	if !nameOK.MatchString(kind) || end == nil {
		return fmt.Errorf("end of flows of kind %q: want 1 to 59 letters, digits, - and _, and a function", kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ends[kind]; ok {
		return fmt.Errorf("end of flows of kind %s: it is set already", kind)
	}
	s.ends[kind] = end
	return nil
}

// Run takes part until ctx ends, and then returns nil when the functions that run have
// returned. Any number of processes may. A sender needs it too: it hears and asks the others
// here. A stream that is deleted meanwhile is made anew. An error is returned when the stream
// cannot be had, when the service's name is used with another database, or when the
// connection is closed for good.
func (s *Service) Run(ctx context.Context) error {
	if _, ok := gtx.FromContext(ctx); ok {
		return fmt.Errorf("run flow service: %w", inbox.ErrInside)
	}
	if s.cfg.JetStream == nil {
		return errors.New("run flow service: Config.JetStream is not set")
	}
	if err := s.stream(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("run flow service: %w", err)
	}
	held, err := s.about.Held(gtx.Detach(ctx), s.n.flow, "f")
	if err != nil {
		return fmt.Errorf("run flow service: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	var tending sync.WaitGroup
	tending.Go(func() { s.tend(ctx, held) })
	defer tending.Wait()
	defer stop()
	for {
		err = s.in.Consume(ctx, inbox.Source{Stream: s.cfg.Stream, Subjects: []string{subject(s.cfg.Name)}, Workers: s.cfg.Workers}, s.receive)
		if !gone(err) {
			break
		}
		// What was in it is asked for again.
		s.cfg.Logger.WarnContext(ctx, "flow: stream or consumer has gone, beginning anew", "service", s.cfg.Name, "stream", s.cfg.Stream, "err", err)
		t := time.NewTimer(tendEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		if err = s.stream(ctx); err != nil && !gone(err) {
			break
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, inbox.ErrForgotten) {
		err = fmt.Errorf("%w: remove those that are older than Config.Keep from the stream, whose senders ask again", err)
	}
	if err != nil {
		return fmt.Errorf("run flow service: %w", err)
	}
	return nil
}

// gone tells that a stream or a durable consumer was deleted.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// stream makes the stream where it is missing.
func (s *Service) stream(ctx context.Context) error {
	_, err := s.cfg.JetStream.Stream(ctx, s.cfg.Stream)
	if err == nil {
		name, err := s.cfg.JetStream.StreamNameBySubject(ctx, subject(s.cfg.Name))
		if err != nil || name != s.cfg.Stream {
			return errors.Join(err, fmt.Errorf("stream %s does not take %s: give it the subjects of flow.StreamConfig", s.cfg.Stream, subject(s.cfg.Name)))
		}
		return nil
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err //nolint:wrapcheck // says enough
	}
	if s.cfg.Stream != Stream {
		return fmt.Errorf("stream %s does not exist: make it with the subjects of flow.StreamConfig", s.cfg.Stream)
	}
	_, err = s.cfg.JetStream.CreateStream(ctx, StreamConfig())
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
		return fmt.Errorf("make stream %s: %w", Stream, err)
	}
	return nil
}

// receive is the handler of the inbox.
func (s *Service) receive(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
	e, err := open(m)
	if err != nil {
		return inbox.Permanent(err)
	}
	switch e.op {
	case opDo:
		err = s.do(ctx, tx, e, m)
	case opUndo:
		err = s.undo(ctx, tx, e, m)
	default:
		err = s.report(ctx, tx, e)
	}
	if inbox.IsRetry(err) && m.Deliveries >= patience {
		return inbox.Permanent(fmt.Errorf("%w: %w", errLater, err))
	}
	return err
}

// patience is how often a message that is to be tried again, through no fault of its own, is
// delivered before it is given back for the next that the sender sends. Messages that wait
// in the server for their next try are bounded, and keep others from their first.
const patience = 6

// giveUp is asked about messages that have failed for good. No message of a flow needs a
// dead letter: the sender asks again.
func (s *Service) giveUp(ctx context.Context, tx *sql.Tx, m *inbox.Message, cause error) (bool, error) {
	e, err := open(m)
	switch {
	case err != nil:
		return false, nil //nolint:nilerr // it is of no flow, and put aside
	case errors.Is(cause, errLater) && e.op != opReport, errors.Is(cause, errOld) && e.op == opDo:
		return true, nil
	case errors.Is(cause, errOld):
		// To be seen at the sender as stuck: somebody must look.
		return true, s.tell(ctx, tx, s.reportOf(e, Done, plain("undo: "+cause.Error())))
	}
	switch e.op {
	case opDo:
		return true, s.fail(ctx, tx, e, m, cause)
	case opUndo:
		return true, s.stuck(ctx, tx, e, cause)
	default:
		_, err := s.exec(ctx, tx, "note error of flow", "UPDATE {flow} SET end_error = ? WHERE id = ? AND ended = 0", plain(cause.Error()), e.id)
		return true, err
	}
}

// tell publishes through the outbox in tx.
func (s *Service) tell(ctx context.Context, tx *sql.Tx, m outboxMessage) error {
	if _, err := s.cfg.Outbox.Publish(ctx, tx, m); err != nil {
		return err //nolint:wrapcheck // says enough
	}
	return nil
}
