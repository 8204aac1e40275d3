package inject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// root is the directory of the module.
const root = "../../.."

// every is which part of the bugs a run takes by default, for the time it costs;
// GTX_SIM_INJECT=all takes them all, another text those of this rule, or that have it in
// their name.
const every = 6

func wanted(i int, b Bug) bool {
	switch text := os.Getenv("GTX_SIM_INJECT"); text {
	case "":
		return i%every == 0
	case "all":
		return true
	default:
		return b.Rule == text || strings.Contains(b.Name, text)
	}
}

// atOnce is how many bugs are built and run at a time.
const atOnce = 2

// seeds is within how many schedules a bug must be found.
const seeds = "60000"

// TestEveryBugIsFound builds the simulator with one bug after the other. One that
// no schedule finds is a hole in the simulator: close it there.
func TestEveryBugIsFound(t *testing.T) {
	if r := build(t.Context(), t.TempDir(), "", "300"); r.err != nil || r.found {
		t.Fatalf("without any bug: %v\n%s", r.err, r.output)
	}
	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, b := range Bugs() {
		if !wanted(i, b) {
			continue
		}
		dir := t.TempDir()
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			overlay, err := b.Overlay(root, dir)
			if err != nil {
				t.Error(err)
				return
			}
			r := build(t.Context(), dir, overlay, seeds)
			switch {
			case r.err != nil:
				t.Errorf("bug %q: %v\n%s", b.Name, r.err, r.output)
			case !r.found:
				t.Errorf("bug %q (rule %s) is not found in %s schedules", b.Name, b.Rule, seeds)
			default:
				t.Logf("%s (rule %s): %s", b.Name, b.Rule, r.how)
			}
		})
	}
	wait.Wait()
}

// result of a run of the simulator.
type result struct {
	found  bool
	how    string
	output string
	err    error
}

// violation is how a bug shows: a broken property, or a machine whose own data contradict
// themselves.
var violation = regexp.MustCompile(`(?m)^(seed \d+|panic): .*`)

// build builds the simulator with an overlay, or without one, and runs it.
func build(ctx context.Context, dir, overlay, seeds string) result {
	bin := filepath.Join(dir, "sim")
	args := []string{"build", "-o", bin}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	build := exec.CommandContext(ctx, "go", append(args, "./internal/sim/cmd/sim")...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return result{err: fmt.Errorf("build simulator: %w", err), output: string(out)}
	}
	defer os.Remove(bin) //nolint:errcheck // it goes with the test's directory; this saves room while the others run
	out, err := exec.CommandContext(ctx, bin, "-jobs", "1", "-seeds", seeds, "-time", "5m").CombinedOutput()
	r := result{output: string(out), how: violation.FindString(string(out))}
	r.found = r.how != ""
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || !r.found) {
		r.err = err
	}
	return r
}

// TestBugsFit holds, without a build, that every bug still has its place.
func TestBugsFit(t *testing.T) {
	names := map[string]bool{}
	for _, b := range Bugs() {
		if names[b.Name] {
			t.Errorf("two bugs are named %q", b.Name)
		}
		names[b.Name] = true
		if _, err := b.Overlay(root, t.TempDir()); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d bugs", len(names))
}
