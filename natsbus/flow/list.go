package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Flow is a flow as the database of its sender knows it.
type Flow struct {
	ID, Sender, Kind string
	State            State  // Running, Done, Undoing or Undone
	Error            string // why it has failed
	Began, Deadline  time.Time
	Ended            time.Time // zero: it has not
	EndError         string    // why End does not succeed
	To               []Party   // by name
	Header           nats.Header
	Body             []byte
}

// Party is a service that a flow is for.
type Party struct {
	Name  string
	State State // Waiting, Done, Failed, Barred or Undone
	// Error is why it has failed, or was barred or undone; where it is done, why Undo
	// does not succeed.
	Error string
	At    time.Time // of the last news; zero: none
}

func (f *Flow) party(name string) *Party {
	for i := range f.To {
		if f.To[i].Name == name {
			return &f.To[i]
		}
	}
	return nil
}

func (f *Flow) all(is func(State) bool) bool {
	for _, p := range f.To {
		if !is(p.State) {
			return false
		}
	}
	return true
}

// StepRow is a step as the database of its service knows it.
type StepRow struct {
	Consumer           string // Config.Name of the service
	Flow, Sender, Kind string
	State              State // Done, Failed, Barred or Undone
	Error              string
	Began, At          time.Time
}

// Flow gives a flow that this service has started, or ErrNotFound.
func (s *Service) Flow(ctx context.Context, id string) (*Flow, error) {
	return s.readFlow(gtx.Detach(ctx), s.db, id, "")
}

// Find gives what a database knows of a flow: the flow at its sender, nil elsewhere, and the
// steps of services whose database it is. ErrNotFound where it knows nothing. d is the
// dialect of db.
func Find(ctx context.Context, db *sql.DB, d undo.Dialect, id string) (*Flow, []StepRow, error) {
	s := store{db, d, namesOf(d.Name())}
	f, err := s.readFlow(ctx, db, id, "")
	switch {
	case err == nil, errors.Is(err, ErrNotFound):
	case d.Classify(err) == undo.NoTable:
		return nil, nil, ErrNotFound
	default:
		return nil, nil, err
	}
	steps, err := s.steps(ctx, "flow = ? ORDER BY consumer", id)
	if err == nil && f == nil && len(steps) == 0 {
		err = ErrNotFound
	}
	return f, steps, err
}

// ID tells whether a text has the form of the id of a flow.
func ID(text string) bool { return idOK.MatchString(text) }

func (s *store) steps(ctx context.Context, where string, args ...any) (all []StepRow, err error) {
	rows, err := s.db.QueryContext(ctx, s.text("SELECT consumer, flow, sender, kind, state, error, began, at FROM {step} WHERE "+where), args...)
	if err != nil {
		return nil, fmt.Errorf("read steps: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r StepRow
		var began, at int64
		if err := rows.Scan(&r.Consumer, &r.Flow, &r.Sender, &r.Kind, &r.State, &r.Error, &began, &at); err != nil {
			return nil, fmt.Errorf("read steps: %w", err)
		}
		r.Began, r.At = time.UnixMicro(began), time.UnixMicro(at)
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read steps: %w", err)
	}
	return all, nil
}

// List gives the flows that were started from a database and have not ended, the oldest
// first, at most limit, without their headers and bodies. A database without the table has
// none.
func List(ctx context.Context, db *sql.DB, d undo.Dialect, limit int) ([]Flow, error) {
	s := store{db, d, namesOf(d.Name())}
	rows, err := db.QueryContext(ctx, s.text(fmt.Sprintf(
		"SELECT f.id, f.sender, f.kind, f.state, f.error, f.began, f.deadline, f.end_error, t.name, t.state, t.error, t.at FROM (SELECT id, sender, kind, state, error, began, deadline, end_error FROM {flow} WHERE state IN (%d, %d) ORDER BY began, id LIMIT %d) f JOIN {to} t ON t.flow = f.id ORDER BY f.began, f.id, t.name",
		Running, Undoing, max(0, limit))))
	if err != nil {
		if d.Classify(err) == undo.NoTable {
			return nil, nil
		}
		return nil, fmt.Errorf("list flows: %w", err)
	}
	defer rows.Close()
	var all []Flow
	for rows.Next() {
		var f Flow
		var p Party
		var began, deadline, at int64
		if err := rows.Scan(&f.ID, &f.Sender, &f.Kind, &f.State, &f.Error, &began, &deadline, &f.EndError, &p.Name, &p.State, &p.Error, &at); err != nil {
			return nil, fmt.Errorf("list flows: %w", err)
		}
		f.Began, f.Deadline = time.UnixMicro(began), time.UnixMicro(deadline)
		if at != 0 {
			p.At = time.UnixMicro(at)
		}
		if len(all) == 0 || all[len(all)-1].ID != f.ID {
			all = append(all, f)
		}
		last := &all[len(all)-1]
		last.To = append(last.To, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	return all, nil
}

// Stuck tells that a service has tried an Undo of the flow in vain, or the sender an End.
// It goes on trying.
func (f *Flow) Stuck() bool {
	stuck := f.EndError != ""
	for _, p := range f.To {
		stuck = stuck || p.State == Done && p.Error != ""
	}
	return stuck && f.Ended.IsZero()
}

// Stats counts the flows that a service has started and that have not ended.
type Stats struct {
	Running int64 // wait for services to be done
	Undoing int64 // have failed, and wait for services to be undone
	Stuck   int64 // of both, where an Undo fails, or End
	// Oldest is how long ago the first of them was started. Zero: there is none.
	Oldest time.Duration
}

// Stats asks the database of the sender.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	var began int64
	const count = "COALESCE(SUM(CASE WHEN %s THEN 1 ELSE 0 END), 0), "
	stuck := fmt.Sprintf("f.end_error <> '' OR EXISTS (SELECT 1 FROM {to} t WHERE t.flow = f.id AND t.state = %d AND t.error <> '')", Done)
	query := "SELECT " + fmt.Sprintf(count, fmt.Sprintf("f.state = %d", Running)) + fmt.Sprintf(count, fmt.Sprintf("f.state = %d", Undoing)) + fmt.Sprintf(count, stuck) +
		fmt.Sprintf("COALESCE(MIN(f.began), 0) FROM {flow} f WHERE f.sender = ? AND f.state IN (%d, %d)", Running, Undoing)
	err := s.db.QueryRowContext(gtx.Detach(ctx), s.text(query), s.cfg.Name).Scan(&st.Running, &st.Undoing, &st.Stuck, &began)
	if err != nil {
		return st, fmt.Errorf("count flows: %w", err)
	}
	if began != 0 {
		st.Oldest = max(0, time.Since(time.UnixMicro(began)))
	}
	return st, nil
}
