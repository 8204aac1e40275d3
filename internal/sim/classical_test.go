package sim

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestClassicalFailures holds that the table of docs/simulation.md and the scripts name
// each other: every protocol has every failure, and no script is left out.
func TestClassicalFailures(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## The classical failures")
	section, _, found := strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/simulation.md has no section of the classical failures")
	}
	var named []string
	for _, m := range regexp.MustCompile(`internal/sim/testdata/([a-z0-9-]+)\.txt`).FindAllStringSubmatch(section, -1) {
		if slices.Contains(named, m[1]) {
			t.Errorf("%s is named twice", m[1])
		}
		named = append(named, m[1])
		if _, err := os.Stat(filepath.Join("testdata", m[1]+".txt")); err != nil {
			t.Errorf("the page names a script that is not there: %v", err)
		}
	}
	for _, protocol := range []string{"at", "2pc", "3pc-textbook", "3pc"} {
		for _, dies := range []string{"coordinator-dies", "participant-dies", "both-die"} {
			for _, when := range []string{"phase-one", "before-acted", "after-acted"} {
				if name := protocol + "-" + dies + "-" + when; !slices.Contains(named, name) {
					t.Errorf("the page does not name %s", name)
				}
			}
		}
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if regexp.MustCompile(`^(at|2pc|3pc)-`).MatchString(name) && !slices.Contains(named, name) {
			t.Errorf("the page does not name %s", name)
		}
	}
	for name := range violates {
		if !slices.Contains(files, filepath.Join("testdata", name+".txt")) {
			t.Errorf("there is no script %s that violates anything", name)
		}
	}
}
