// Package docs holds the documents' tests: what they name must exist.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks holds that relative links lead to files.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, top...) {
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
}

// TestReadmeShowsCodeEarly holds the promise of the first screen.
func TestReadmeShowsCodeEarly(t *testing.T) {
	for i, line := range strings.Split(read(t, "../README.md"), "\n") {
		if strings.Contains(line, "gtx.Run(") {
			if i+1 > 25 {
				t.Errorf("gtx.Run stands in line %d of README.md, want at most 25", i+1)
			}
			return
		}
	}
	t.Error("README.md does not show gtx.Run")
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
