package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// State is how a test ended.
type State string

// The states. Missing is the state of a test that the other run had and this one had
// not, Died of one that was running when the process ended.
const (
	Passed  State = "pass"
	Failed  State = "fail"
	Skipped State = "skip"
	Died    State = "died"
	Missing State = "missing"
)

// Outcome is what a test gave.
type Outcome struct {
	State State
	// Trace are the lines that the test logged after "trace: ". They must be the same
	// in every mode: programs of our own say in them what they read.
	Trace []string
	// Output is all that it printed.
	Output string
}

// Result is what a run of a suite gave.
type Result struct {
	Suite string
	Mode  string
	// Tests has every test and subtest by its name.
	Tests map[string]Outcome
	Took  time.Duration
	// records are what the mode wrote to the file that RecordEnv names.
	records records
	// Stderr is what was printed outside of a test.
	Stderr string
}

// Count tells how many tests ended so.
func (r *Result) Count(s State) (n int) {
	for _, o := range r.Tests {
		if o.State == s {
			n++
		}
	}
	return n
}

// run runs the suite's tests in a mode, on a new database. An error says that there is
// no result to speak of; tests that fail are a result.
func (w *workspace) run(ctx context.Context, s Suite, mode string) (r *Result, err error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	record := filepath.Join(dir, "record")
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return nil, err
	}
	env := append(os.Environ(), ModeEnv+"="+mode, RecordEnv+"="+record, DirEnv+"="+work)
	var db Database
	if s.Server != "" {
		made, drop, err := newDatabase(ctx, s.Server)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, drop(context.WithoutCancel(ctx))) }()
		db = made
	}
	if s.Prepare != nil {
		if err := s.Prepare(ctx, db); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", s.Name, err)
		}
	}
	if s.Env != nil {
		env = append(env, s.Env(db)...)
	}
	args := []string{
		"tool", "test2json", w.binary,
		"-test.v=test2json", "-test.timeout=" + s.Timeout.String(), "-test.run=" + s.Run, "-test.skip=" + s.Skip,
	}
	if s.Args != nil {
		args = append(args, s.Args(db)...)
	}
	// The process ends itself at its timeout; this is for one that cannot.
	ctx, cancel := context.WithTimeout(ctx, s.Timeout+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = w.pkg, env, 5*time.Second
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	rerr := cmd.Run()
	r = &Result{Suite: s.Name, Mode: mode, Took: time.Since(began), Tests: map[string]Outcome{}}
	rest, err := readEvents(&out, r.Tests)
	if err != nil {
		return nil, err
	}
	r.Stderr = rest + stderr.String()
	if len(r.Tests) == 0 {
		return nil, fmt.Errorf("no test ran: %w\n%s", rerr, r.Stderr)
	}
	if text, err := os.ReadFile(record); err == nil {
		if r.records, err = readRecords(string(text)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// readEvents puts the outcomes of a stream of test2json into tests. It gives what was
// printed outside of tests.
func readEvents(out *bytes.Buffer, tests map[string]Outcome) (rest string, err error) {
	texts := map[string]*strings.Builder{}
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<26)
	for sc.Scan() {
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			return "", fmt.Errorf("read test event %q: %w", sc.Text(), err)
		}
		if e.Action == "output" {
			b := texts[e.Test]
			if b == nil {
				b = &strings.Builder{}
				texts[e.Test] = b
			}
			b.WriteString(e.Output)
			continue
		}
		if e.Test == "" {
			continue
		}
		switch e.Action {
		case "run":
			tests[e.Test] = Outcome{State: Died}
		case "pass", "fail", "skip":
			tests[e.Test] = Outcome{State: State(e.Action)}
		}
	}
	if err := sc.Err(); err != nil {
		return "", fmt.Errorf("read test events: %w", err)
	}
	for name, b := range texts {
		if name == "" {
			rest = b.String()
			continue
		}
		o := tests[name]
		o.Output = b.String()
		for line := range strings.Lines(o.Output) {
			if _, trace, ok := strings.Cut(line, "trace: "); ok {
				o.Trace = append(o.Trace, strings.TrimRight(trace, "\n"))
			}
		}
		tests[name] = o
	}
	return rest, nil
}
