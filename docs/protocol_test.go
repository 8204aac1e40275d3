package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRulesAreShown holds that each rule of protocol.md that is built names what
// shows it, and that this exists: a test of this repository, or a script of the
// simulator.
func TestRulesAreShown(t *testing.T) {
	tests := testNames(t)
	page := read(t, "protocol.md")
	begin, end := strings.Index(page, "## I: identities"), strings.Index(page, "## N: not promised")
	if begin < 0 || end < begin {
		t.Fatal("protocol.md has no rules")
	}
	rules := regexp.MustCompile(`(?m)^- \*\*([A-Z][0-9])\*\* `).FindAllStringSubmatchIndex(page[begin:end], -1)
	if len(rules) < 40 {
		t.Fatalf("protocol.md has %d rules", len(rules))
	}
	for i, at := range rules {
		text := page[begin:end][at[0]:]
		if i+1 < len(rules) {
			text = page[begin:end][at[0]:rules[i+1][0]]
		}
		rule := page[begin:end][at[2]:at[3]]
		if !strings.Contains(text, "*Race:*") && !strings.Contains(text, "*Races:*") {
			t.Errorf("rule %s does not say which race it prevents", rule)
		}
		_, shown, ok := strings.Cut(text, "*Shown:*")
		if !ok {
			t.Errorf("rule %s says nothing about what shows it", rule)
			continue
		}
		names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(shown, -1)
		if len(names) == 0 {
			t.Errorf("rule %s names no test", rule)
		}
		for _, name := range names {
			_, err := os.Stat(filepath.Join("..", "internal", "sim", "testdata", name[1]))
			if err != nil && !tests[name[1]] {
				t.Errorf("rule %s is shown by %s, which is neither a test nor a script", rule, name[1])
			}
		}
	}
}

// testNames are all tests of the module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "..":
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			for _, m := range function.FindAllStringSubmatch(read(t, path), -1) {
				names[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
