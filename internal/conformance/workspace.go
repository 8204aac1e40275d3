package conformance

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// own are the packages that a workspace gets a copy of.
//
//go:embed hook shim inside
var own embed.FS

// ownPath is where they are here.
const ownPath = "github.com/globaltx/globaltx/internal/conformance"

// workspace is a directory in which the tests of a Source are built.
type workspace struct {
	root   string // of this repository
	dir    string // of the workspace; empty for programs of our own
	pkg    string // directory of the package with the tests
	binary string
}

// prepare makes the test binary of a source. cache is a directory for workspaces, name is
// unique among sources; what an earlier run left there is removed.
func prepare(ctx context.Context, root, cache, name string, s *Source) (*workspace, error) {
	dir := filepath.Join(cache, name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("clear workspace: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make workspace: %w", err)
	}
	w := &workspace{root: root, binary: filepath.Join(dir, "suite.test")}
	if s.Own != "" {
		w.pkg = filepath.Join(root, "internal", "conformance", filepath.FromSlash(s.Own))
		return w, w.compile(ctx, s)
	}
	w.dir = dir
	if err := w.assemble(ctx, s); err != nil {
		return nil, err
	}
	return w, w.compile(ctx, s)
}

func (w *workspace) assemble(ctx context.Context, s *Source) error {
	if len(s.Modules) == 0 {
		return errors.New("a source without a module")
	}
	uses := []string{w.root, "own"}
	for i, m := range s.Modules {
		from, err := download(ctx, m)
		if err != nil {
			return err
		}
		use := fmt.Sprintf("m%d", i)
		if err := w.place(m, from, filepath.Join(w.dir, use)); err != nil {
			return fmt.Errorf("copy %s@%s: %w", m.Path, m.Version, err)
		}
		uses = append(uses, use)
	}
	if err := copyOwn(filepath.Join(w.dir, "own")); err != nil {
		return fmt.Errorf("copy hooks: %w", err)
	}
	w.pkg = filepath.Join(w.dir, "m0", filepath.FromSlash(s.Dir))
	if err := w.shim(s); err != nil {
		return err
	}
	var work bytes.Buffer
	work.WriteString("go 1.26.0\n\nuse (\n")
	for _, u := range uses {
		fmt.Fprintf(&work, "\t%s\n", u)
	}
	work.WriteString(")\n")
	return os.WriteFile(filepath.Join(w.dir, "go.work"), work.Bytes(), 0o644)
}

// place copies a module with its changes.
func (w *workspace) place(m Module, from, to string) error {
	changed := 0
	hooked := make([]bool, len(m.Hook))
	edited := make([]bool, len(m.Edits))
	err := filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if matchAny(m.Omit, name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for i, e := range m.Edits {
			if e.File == name && bytes.Contains(text, []byte(e.Old)) {
				text = bytes.ReplaceAll(text, []byte(e.Old), []byte(e.New))
				edited[i] = true
			}
		}
		for i, p := range m.Hook {
			if ok, err := path.Match(p, name); err != nil || !ok {
				continue
			}
			hooked[i] = true
			out, _, ok, err := rewrite(name, text)
			if err != nil {
				return err
			}
			text = out
			if ok {
				changed++
			}
			break
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o644)
	})
	if err != nil {
		return err
	}
	for i, ok := range hooked {
		if !ok {
			return fmt.Errorf("no file matches %q", m.Hook[i])
		}
	}
	for i, ok := range edited {
		if !ok {
			return fmt.Errorf("edit of %s: nothing reads %q", m.Edits[i].File, m.Edits[i].Old)
		}
	}
	if changed == 0 && len(m.Hook) > 0 {
		return errors.New("no opening to replace, and no test")
	}
	for name, text := range m.Files {
		file := filepath.Join(to, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func matchAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}

// shim writes the file that brings our drivers in.
func (w *workspace) shim(s *Source) error {
	ctxt := build.Default
	ctxt.BuildTags = s.Tags
	p, err := ctxt.ImportDir(w.pkg, 0)
	if err != nil {
		return fmt.Errorf("find the package's name: %w", err)
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "package %s_test\n\nimport (\n", strings.TrimSuffix(p.Name, "_test"))
	for _, d := range s.Drivers {
		fmt.Fprintf(&text, "\t_ %q\n", copied+"/shim/"+d)
	}
	fmt.Fprintf(&text, "\t_ %q\n", copied+"/inside")
	text.WriteString(")\n")
	return os.WriteFile(filepath.Join(w.pkg, "gtx_shim_test.go"), text.Bytes(), 0o644)
}

// copyOwn writes packages hook, shim and inside as a module of their own.
func copyOwn(to string) error {
	err := fs.WalkDir(own, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, filepath.FromSlash(name)), 0o755)
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := own.ReadFile(name)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte(ownPath+"/"), []byte(copied+"/"))
		return os.WriteFile(filepath.Join(to, filepath.FromSlash(name)), text, 0o644)
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "go.mod"), []byte("module "+copied+"\n\ngo 1.26.0\n"), 0o644)
}

func (w *workspace) compile(ctx context.Context, s *Source) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-tags", strings.Join(s.Tags, ","), "-o", w.binary, ".")
	cmd.Dir = w.pkg
	// Without cgo: modules that name a driver in C build without a C compiler.
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build tests: %w\n%s", err, out)
	}
	return nil
}

// download gives the directory of a module in the module cache.
func download(ctx context.Context, m Module) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", m.Path+"@"+m.Version)
	cmd.Dir = os.TempDir() // outside of any module
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if jerr := json.Unmarshal(out, &got); jerr != nil {
		return "", fmt.Errorf("download %s@%s: %w", m.Path, m.Version, errors.Join(withStderr(err), jerr))
	}
	if err != nil || got.Error != "" {
		return "", fmt.Errorf("download %s@%s: %s: %w", m.Path, m.Version, got.Error, err)
	}
	return got.Dir, nil
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return err
}
