// Package stage plays programs that use an ORM, once on the bare driver and again
// through globaltx, and compares what they saw and what they left behind.
//
// A program is played in one of four modes, each on a database of its own that is empty
// at its beginning:
//
//   - bare: on the base driver. This is the reference for the others;
//   - outside: through the wrapper, with no global transaction;
//   - commit: inside a global transaction that commits. What the program saw and
//     the rows it leaves must be those of the bare driver;
//   - abort: inside a global transaction that is aborted at its end. The program
//     must see what it saw on the bare driver, and afterwards the database must
//     hold the rows that it held before.
//
// The environment variable GTX_CONFORMANCE_MODE names one mode; without it all are
// played.
package stage

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// The modes.
const (
	Bare    = "bare"
	Outside = "outside"
	Commit  = "commit"
	Abort   = "abort"
)

// ModeEnv names the mode to play.
const ModeEnv = "GTX_CONFORMANCE_MODE"

// timeout bounds one global transaction.
const timeout = 60 * time.Second

// Program is one piece of work through an ORM. T is what the ORM calls its handle.
type Program[T any] struct {
	Name string
	// Setup makes tables and first rows. It runs outside of global transactions.
	Setup func(ctx context.Context, db T) error
	// Run does the work with ctx in every call and notes what it sees. It may run
	// again after a conflict, with a new trace.
	Run func(ctx context.Context, db T, tr *Trace) error
	// Only limits the program to some dialects: mysql, postgres, sqlite. None: all.
	Only []string
	// Refused holds the codes of gtx.UnsupportedError that Run ends with inside a
	// global transaction, by kind of database. A kind that is not named runs to
	// its end.
	Refused map[string]string
}

// Suite is the programs of one ORM.
type Suite[T any] struct {
	// Open makes the ORM's handle over a database.
	Open     func(db *sql.DB, k Kind) (T, error)
	Programs []Program[T]
	// Kinds are the names of the databases that the programs are played on. Nil: all.
	Kinds []string
}

// errAbort ends the global transactions of mode abort.
var errAbort = errors.New("aborted by the stage")

// Play plays every program on every kind of database, as subtests kind/program.
func (s Suite[T]) Play(t *testing.T) {
	modes := []string{Bare, Outside, Commit, Abort}
	if mode := os.Getenv(ModeEnv); mode != "" {
		if !slices.Contains(modes, mode) {
			t.Fatalf("%s=%s: known are %v", ModeEnv, mode, modes)
		}
		modes = []string{Bare}
		if mode != Bare {
			modes = append(modes, mode)
		}
	}
	bus, err := natsbus.Embedded(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		gtx.SetDefault(nil)
		if err := bus.Close(); err != nil {
			t.Errorf("close bus: %v", err)
		}
	})
	gtx.SetDefault(bus)
	for _, k := range Kinds() {
		if s.Kinds != nil && !slices.Contains(s.Kinds, k.Name) {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			at := map[string]*database{}
			for _, mode := range modes {
				at[mode] = k.open(t, mode != Bare)
			}
			for _, p := range s.Programs {
				if len(p.Only) > 0 && !slices.Contains(p.Only, k.Dialect) {
					continue
				}
				t.Run(p.Name, func(t *testing.T) { s.play(t, at, p, modes) })
			}
		})
	}
}

func (s Suite[T]) play(t *testing.T, at map[string]*database, p Program[T], modes []string) {
	bare := s.perform(t, at[Bare], p, Bare)
	for _, line := range bare.trace.lines {
		t.Log(line)
	}
	if bare.err != nil {
		t.Fatalf("bare: %v", bare.err)
	}
	for _, mode := range modes {
		if mode == Bare {
			continue
		}
		got := s.perform(t, at[mode], p, mode)
		if code := p.Refused[at[mode].kind.Name]; code != "" && mode != Outside {
			refused(t, mode, code, got)
			continue
		}
		if got.err != nil {
			t.Errorf("%s: %v", mode, got.err)
		}
		if d := cmp.Diff(bare.trace.lines, got.trace.lines); d != "" {
			t.Errorf("%s saw something else than bare (-bare +%s):\n%s", mode, mode, d)
		}
		want := bare.after
		if mode == Abort {
			want = got.before
		}
		if d := cmp.Diff(want, got.after); d != "" {
			t.Errorf("%s left other rows (-want +got):\n%s", mode, d)
		}
	}
}

// refused checks that the program met the refusal that it is known for, and that
// nothing of it is left.
func refused(t *testing.T, mode, code string, got performance) {
	t.Helper()
	var u *gtx.UnsupportedError
	if !errors.As(got.err, &u) || u.Code != code {
		t.Errorf("%s: got %v, want refusal %q", mode, got.err, code)
	}
	if d := cmp.Diff(got.before, got.after); d != "" {
		t.Errorf("%s: a refused program left rows (-before +after):\n%s", mode, d)
	}
}

// performance is what came of one program in one mode.
type performance struct {
	trace         *Trace
	before, after []string
	err           error // of Run; nil when mode abort aborted it
}

func (s Suite[T]) perform(t *testing.T, base *database, p Program[T], mode string) (out performance) {
	t.Helper()
	ctx := t.Context()
	base.empty(ctx, t)
	handle, err := s.Open(base.db, base.kind)
	if err != nil {
		t.Fatalf("%s: open: %v", mode, err)
	}
	if err := p.Setup(ctx, handle); err != nil {
		t.Fatalf("%s: setup: %v", mode, err)
	}
	out.before = base.dump(ctx, t)
	undo := 0
	run := func(ctx context.Context) error {
		out.trace = &Trace{database: base.name}
		err := p.Run(ctx, handle, out.trace)
		if mode == Commit || mode == Abort {
			left, lerr := base.leftovers(gtx.Detach(ctx))
			if lerr != nil {
				t.Errorf("%s: count undo rows: %v", mode, lerr)
			}
			undo = left
		}
		return err
	}
	switch mode {
	case Commit:
		out.err = gtx.Run(ctx, run, gtx.WithTimeout(timeout))
	case Abort:
		err := gtx.Run(ctx, func(ctx context.Context) error {
			if err := run(ctx); err != nil {
				return err
			}
			return errAbort
		}, gtx.WithTimeout(timeout))
		if !errors.Is(err, errAbort) {
			out.err = err
		}
	default:
		out.err = run(ctx)
	}
	base.settle(ctx, t)
	out.after = base.dump(ctx, t)
	if mode == Commit || mode == Abort {
		base.segment(ctx, t, mode, undo, out.before)
	}
	return out
}
