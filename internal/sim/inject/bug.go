// Package inject keeps the simulator honest: it builds it with mistakes in the
// shipped code, one at a time, and holds that random schedules find each. A bug
// is a rule of docs/protocol.md left out, or a step of it in the wrong place.
package inject

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bug is a few edits that take a rule out.
type Bug struct {
	Name  string // what goes wrong, short
	Rule  string // that it breaks
	Edits []Edit
}

// Edit is a change of one file.
type Edit struct {
	File string // from the root of the module
	Old  string // stands exactly once in File
	New  string
}

// Bugs gives every bug, in a fixed order.
func Bugs() []Bug {
	return slices.Concat(logBugs, trimBugs, decisionBugs, branchBugs, preparedBugs, threePhaseBugs)
}

// one is a bug of one edit.
func one(name, rule, file, before, after string) Bug {
	return Bug{name, rule, []Edit{{file, before, after}}}
}

// Overlay writes the damaged files and the overlay for go build -overlay into
// dir, and gives the path of the overlay. Root is the directory of the module.
func (b Bug) Overlay(root, dir string) (string, error) {
	replace := map[string]string{}
	for i, e := range b.Edits {
		real, err := filepath.Abs(filepath.Join(root, e.File))
		if err != nil {
			return "", fmt.Errorf("find %s: %w", e.File, err)
		}
		from := real
		if damaged, again := replace[real]; again {
			from = damaged
		}
		source, err := os.ReadFile(from)
		if err != nil {
			return "", fmt.Errorf("read file of bug: %w", err)
		}
		if n := strings.Count(string(source), e.Old); n != 1 || e.Old == e.New {
			return "", fmt.Errorf("bug %q: its old text stands %d times in %s, want once and another new text:\n%s", b.Name, n, e.File, e.Old)
		}
		damaged := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(damaged, []byte(strings.Replace(string(source), e.Old, e.New, 1)), 0o600); err != nil {
			return "", fmt.Errorf("write damaged file: %w", err)
		}
		replace[real] = damaged
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("encode overlay: %w", err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return path, nil
}
