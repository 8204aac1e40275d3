package conformance

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// mostLost is how many tests that did not end are told of one run: the first one tells
// enough.
const mostLost = 10

// runTime bounds a run of a suite that names no other time.
const runTime = 2 * time.Minute

// Options are what a run is about.
type Options struct {
	Root   string   // of this repository
	Cache  string   // directory for workspaces
	Suites []string // patterns (path.Match) of names; none: all
	Modes  []string // beside Bare; none: those of each suite
	Run    string   // -test.run in place of the suite's
	Out    io.Writer
	// Repeat runs a suite once more, bare and through our driver, where a test has ended
	// otherwise, and leaves that out if it does not happen again: some suites have tests
	// that a busy machine makes fail, one time bare and one time through our driver.
	Repeat bool
	// Patience multiplies the time that a run may take. Zero: one.
	Patience int
	// Verbose prints the output of tests that differ, and records in full.
	Verbose bool
}

// Run runs suites through the bare driver and ours, and prints what came out. ok is false
// if there is a difference that docs/conformance.md does not explain, or one in there
// that did not occur.
func Run(ctx context.Context, o Options) (ok bool, err error) {
	began := time.Now()
	doc := filepath.Join(o.Root, "docs", "conformance.md")
	text, err := os.ReadFile(doc)
	if err != nil {
		return false, fmt.Errorf("read expected differences: %w", err)
	}
	expected, err := ParseExpected(string(text))
	if err != nil {
		return false, fmt.Errorf("%s: %w", doc, err)
	}
	r := &runner{Options: o, expected: expected, built: map[*Source]*workspace{}, ok: true}
	if r.asked, err = asked(o.Run); err != nil {
		return false, err
	}
	for _, s := range Suites() {
		if !o.wants(s.Name) {
			continue
		}
		if err := r.suite(ctx, s); err != nil {
			return false, fmt.Errorf("suite %s: %w", s.Name, err)
		}
	}
	if r.suites == 0 {
		return false, fmt.Errorf("no suite is named %s", strings.Join(o.Suites, ", "))
	}
	fmt.Fprintf(r.Out, "%d suites, %d runs through our drivers with %d tests: %d differences without a reason, %d with one, in %s\n",
		r.suites, r.runs, r.tests, r.news, r.known, time.Since(began).Round(time.Second))
	return r.ok, nil
}

// runner is a Run.
type runner struct {
	Options
	expected []Expected
	built    map[*Source]*workspace
	asked    func(test string) bool
	suites   int
	ok       bool

	// For the summary.
	runs, tests, news, known int
}

func (o Options) wants(suite string) bool {
	if len(o.Suites) == 0 {
		return true
	}
	return matchAny(o.Suites, suite)
}

// asked tells of a test whether -run lets it run, by the top of its name.
func asked(run string) (func(string) bool, error) {
	top, _, _ := strings.Cut(run, "/")
	re, err := regexp.Compile(top)
	if err != nil {
		return nil, fmt.Errorf("read -run: %w", err)
	}
	return func(test string) bool {
		name, _, _ := strings.Cut(test, "/")
		return re.MatchString(name)
	}, nil
}

func (r *runner) suite(ctx context.Context, s Suite) error {
	r.suites++
	if r.Run != "" {
		s.Run = r.Run
	}
	w := r.built[s.Source]
	if w == nil {
		began := time.Now()
		var err error
		if w, err = prepare(ctx, r.Root, r.Cache, strings.ReplaceAll(s.Name, "/", "-"), s.Source); err != nil {
			return err
		}
		r.built[s.Source] = w
		fmt.Fprintf(r.Out, "%-22s built in %s\n", project(s.Name), time.Since(began).Round(time.Second/10))
	}
	if s.Timeout == 0 {
		s.Timeout = runTime
	}
	s.Timeout *= time.Duration(max(1, r.Patience))
	bare, err := w.run(ctx, s, Bare)
	if err != nil {
		return err
	}
	r.line(bare)
	for _, mode := range s.modes() {
		if len(r.Modes) > 0 && !slices.Contains(r.Modes, mode) {
			continue
		}
		ours, err := w.run(ctx, s, mode)
		if err != nil {
			return fmt.Errorf("%s: %w", mode, err)
		}
		r.line(ours)
		v := r.judge(bare, ours)
		if r.Repeat && !v.fine() {
			if v, err = r.again(ctx, w, s, mode, v); err != nil {
				return fmt.Errorf("%s again: %w", mode, err)
			}
		}
		r.report(ours, v)
	}
	return nil
}

// verdict is what Judge says of a run.
type verdict struct {
	news, known []Difference
	stale       []Expected
}

func (v verdict) fine() bool { return len(v.news)+len(v.stale) == 0 }

func (r *runner) judge(bare, ours *Result) (v verdict) {
	v.news, v.known, v.stale = Judge(Compare(bare, ours), r.expected, ours, r.asked)
	return v
}

// again runs both once more and leaves in v what is not as expected for the second time.
func (r *runner) again(ctx context.Context, w *workspace, s Suite, mode string, v verdict) (verdict, error) {
	bare, err := w.run(ctx, s, Bare)
	if err != nil {
		return v, err
	}
	ours, err := w.run(ctx, s, mode)
	if err != nil {
		return v, err
	}
	v, once := v.both(r.judge(bare, ours))
	for _, d := range once {
		fmt.Fprintf(r.Out, "  once       %s\n", d)
	}
	return v, nil
}

// both leaves in v what is not as expected in second either, and gives the rest of the
// differences.
func (v verdict) both(second verdict) (_ verdict, once []Difference) {
	var news []Difference
	for _, d := range v.news {
		if slices.ContainsFunc(second.news, func(o Difference) bool { return o.Test == d.Test }) {
			news = append(news, d)
		} else {
			once = append(once, d)
		}
	}
	stale := slices.DeleteFunc(slices.Clone(v.stale), func(e Expected) bool {
		return !slices.ContainsFunc(second.stale, func(o Expected) bool { return o.Line == e.Line && o.Test == e.Test })
	})
	return verdict{news, v.known, stale}, once
}

func (s Suite) modes() []string {
	if s.Modes == nil {
		return []string{Outside}
	}
	return s.Modes
}

// line prints a run in a line.
func (r *runner) line(x *Result) {
	through := ""
	if x.Mode != Bare {
		through = fmt.Sprintf(", %d connections", x.records.totals().connections)
	}
	fmt.Fprintf(r.Out, "%-22s %-8s %5d passed %4d failed %4d skipped  %s%s\n", x.Suite, x.Mode,
		x.Count(Passed), x.Count(Failed)+x.Count(Died), x.Count(Skipped), x.Took.Round(time.Second/10), through)
	for _, l := range x.records.summary() {
		fmt.Fprintf(r.Out, "    %s\n", l)
	}
	if x.Count(Died) == 0 {
		return
	}
	fmt.Fprintf(r.Out, "    the process ended early:\n")
	for _, name := range slices.Sorted(maps.Keys(x.Tests)) {
		if o := x.Tests[name]; strings.Contains(o.Output, "\ngoroutine ") {
			fmt.Fprintln(r.Out, indent(head(o.Output, 30)))
		}
	}
	if x.Stderr != "" {
		fmt.Fprintln(r.Out, indent(tail(x.Stderr, 10)))
	}
}

func (r *runner) report(ours *Result, v verdict) {
	r.runs++
	r.tests += len(ours.Tests)
	r.news += len(v.news)
	r.known += len(v.known)
	lost := 0
	for _, d := range v.news {
		r.ok = false
		if d.Ours == Died || d.Ours == Missing {
			if lost++; lost > mostLost {
				continue
			}
		}
		fmt.Fprintf(r.Out, "  DIFFERENT  %s\n", d)
		for _, why := range ours.records.why(d.Test) {
			fmt.Fprintln(r.Out, indent(why))
		}
		if r.Verbose {
			fmt.Fprintln(r.Out, indent(tail(d.Output, 60)))
		}
	}
	if lost > mostLost {
		fmt.Fprintf(r.Out, "  DIFFERENT  %s %s: %d more tests did not end\n", ours.Suite, ours.Mode, lost-mostLost)
	}
	for _, wrong := range ours.records.wrong() {
		r.ok = false
		fmt.Fprintf(r.Out, "  WRONG      %s %s %s\n", ours.Suite, ours.Mode, wrong)
	}
	// A run of some tests need not write.
	if idle := ours.records.idle(ours.Mode); idle != "" && r.Run == "" {
		r.ok = false
		fmt.Fprintf(r.Out, "  IDLE       %s %s: %s\n", ours.Suite, ours.Mode, idle)
	}
	codes := map[string]int{}
	for _, d := range v.known {
		if d.Code != "" && !r.Verbose {
			codes[d.Code]++
			continue
		}
		fmt.Fprintf(r.Out, "  expected   %s\n", d)
	}
	if len(codes) > 0 {
		fmt.Fprintf(r.Out, "  expected   %s %s, refused by code: %s\n", ours.Suite, ours.Mode, counts(codes))
	}
	for _, e := range v.stale {
		r.ok = false
		fmt.Fprintf(r.Out, "  STALE      docs/conformance.md:%d: %s %s %s did not differ\n", e.Line, ours.Suite, ours.Mode, e.Test)
	}
}

// project is the first part of a suite's name.
func project(suite string) string {
	name, _, _ := strings.Cut(suite, "/")
	return name
}

func head(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[:min(lines, len(all))], "\n")
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func indent(text string) string { return "      " + strings.ReplaceAll(text, "\n", "\n      ") }
