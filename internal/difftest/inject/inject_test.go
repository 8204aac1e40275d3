package inject

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// sqltextDir is where the bugs go.
const sqltextDir = "../../../proxy/sqltext"

// every is which part of the bugs a run takes by default, for the time it costs;
// GTX_DIFFTEST_INJECT=all takes them all.
const every = 3

// atOnce is how many bugs are built and probed at a time.
const atOnce = 2

// TestEveryBugIsCaught builds the probe with one bug after the other. A bug that
// nothing sees is a hole in the corpus, the generator or the mutators: close it
// there.
func TestEveryBugIsCaught(t *testing.T) {
	baseline, err := probe(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{Labels, Grammar} {
		for key, wrong := range baseline.Wrong {
			for text, detail := range wrong {
				if key[:len(source)] == source {
					t.Errorf("%s: wrong without any bug: %s\n%s", key, detail, text)
				}
			}
		}
	}
	t.Logf("%d texts are judged for each bug", baseline.Texts)

	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, b := range Bugs() {
		if i%every != 0 && os.Getenv("GTX_DIFFTEST_INJECT") != "all" {
			continue
		}
		dir := t.TempDir()
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			overlay, err := b.Overlay(sqltextDir, dir)
			if err != nil {
				t.Error(err)
				return
			}
			r, err := probe(t.Context(), dir, overlay)
			if err != nil {
				t.Errorf("bug %s: %v", b.Name, err)
				return
			}
			c := r.Against(baseline)
			if !c.Seen() {
				t.Errorf("bug %q is not caught", b.Name)
				return
			}
			t.Logf("%s: %s\n    %.200q\n    %.200s", b.Name, c.How(), c.Example, c.Detail)
		})
	}
	wait.Wait()
}

// probe builds the probe with an overlay, or without one, and runs it.
func probe(ctx context.Context, dir, overlay string) (*Report, error) {
	bin := filepath.Join(dir, "probe")
	args := []string{"build", "-o", bin}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, "./probe")...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build probe: %w\n%s", err, out)
	}
	defer os.Remove(bin) //nolint:errcheck // it goes with the test's directory; this saves room while the others run
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(ctx, bin)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run probe: %w\n%s", err, &problems)
	}
	r := NewReport()
	if err := json.Unmarshal(out.Bytes(), r); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	return r, nil
}

// TestBugsFit holds, without a build, that every bug still has its place.
func TestBugsFit(t *testing.T) {
	names := map[string]bool{}
	for _, b := range Bugs() {
		if names[b.Name] {
			t.Errorf("two bugs are named %q", b.Name)
		}
		names[b.Name] = true
		if _, err := b.Overlay(sqltextDir, t.TempDir()); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d bugs", len(names))
}

// TestAnUndamagedBuildIsNotCaught holds that Against tells nothing of a build
// like the first.
func TestAnUndamagedBuildIsNotCaught(t *testing.T) {
	r := func() *Report {
		r := NewReport()
		r.AddWrong(Oracle, "mysql", "a", "x")
		r.AddRefused(Oracle, "mysql", "clause")
		return r
	}
	if c := r().Against(r()); c.Seen() {
		t.Errorf("seen: %+v", c)
	}
	more := r()
	more.AddRefused(Labels, "mysql", "clause")
	if c := more.Against(r()); c.How() != "refusals (1 counts)" {
		t.Errorf("one refusal more: %s", c.How())
	}
	if c := NewReport().Against(r()); c.How() != "refusals (1 counts)" {
		t.Errorf("one refusal less: %s", c.How())
	}
	more.AddWrong(Grammar, "mysql", "b", "y")
	if c := more.Against(r()); c.How() != "misread (grammar 1)" || c.Example != "b" || c.Detail != "y" {
		t.Errorf("one misread more: %+v", c)
	}
}
