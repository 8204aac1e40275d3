// Package inject keeps the harness honest: it builds proxy/sqltext with bugs
// seeded into it, one at a time, and holds that each is seen. A bug is a mistake
// that a person could make while changing that package.
package inject

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bug is one edit of a file of proxy/sqltext.
type Bug struct {
	Name string // what goes wrong, short
	File string // in proxy/sqltext
	Old  string // stands exactly once in File
	New  string
}

// Bugs gives every bug, in a fixed order.
func Bugs() []Bug {
	return slices.Concat(lexerBugs, nameBugs, clauseBugs, tableBugs, insertBugs, withBugs, factBugs)
}

// Overlay writes the damaged file and the overlay for go build -overlay into dir,
// and gives the path of the overlay. Package is the directory of proxy/sqltext.
func (b Bug) Overlay(pkg, dir string) (string, error) {
	real, err := filepath.Abs(filepath.Join(pkg, b.File))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", b.File, err)
	}
	source, err := os.ReadFile(real)
	if err != nil {
		return "", fmt.Errorf("read file of bug: %w", err)
	}
	if n := strings.Count(string(source), b.Old); n != 1 || b.Old == b.New {
		return "", fmt.Errorf("bug %s: its old text stands %d times in %s, want once and another new text", b.Name, n, b.File)
	}
	damaged := filepath.Join(dir, b.File)
	if err := os.WriteFile(damaged, []byte(strings.Replace(string(source), b.Old, b.New, 1)), 0o600); err != nil {
		return "", fmt.Errorf("write damaged file: %w", err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {real: damaged}})
	if err != nil {
		return "", fmt.Errorf("encode overlay: %w", err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return path, nil
}
