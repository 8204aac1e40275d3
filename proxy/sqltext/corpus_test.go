package sqltext

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the answers in testdata")

// example is one text of the corpus: the sessions it is read in, the text, and
// what Parse says.
type example struct {
	sessions []session
	header   string
	text     string
	want     string
	line     int
}

type session struct {
	name string
	d    Dialect
	m    Mode
}

var sessions = map[string]session{
	"mysql":               {"mysql", MySQL, Mode{}},
	"mysql+ansi":          {"mysql+ansi", MySQL, Mode{ANSIQuotes: true}},
	"mysql+nobackslash":   {"mysql+nobackslash", MySQL, Mode{NoBackslashEscapes: true}},
	"mariadb":             {"mariadb", MariaDB, Mode{}},
	"mariadb+ansi":        {"mariadb+ansi", MariaDB, Mode{ANSIQuotes: true}},
	"mariadb+nobackslash": {"mariadb+nobackslash", MariaDB, Mode{NoBackslashEscapes: true}},
	"postgres":            {"postgres", Postgres, Mode{}},
	"postgres+backslash":  {"postgres+backslash", Postgres, Mode{BackslashStrings: true}},
	"sqlite":              {"sqlite", SQLite, Mode{}},
	"sqlite+limit":        {"sqlite+limit", SQLite, Mode{UpdateDeleteLimit: true}},
}

// readCorpus reads a file of examples: a line "-- @session ..." begins one, the
// text follows, and lines that begin with "=> " are the answer.
func readCorpus(t testing.TB, file string) []example {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		if names, ok := strings.CutPrefix(line, "-- @"); ok {
			e := example{header: line, line: i + 1}
			for name := range strings.FieldsSeq(names) {
				s, ok := sessions[name]
				if !ok {
					t.Fatalf("%s:%d: no session %q", file, i+1, name)
				}
				e.sessions = append(e.sessions, s)
			}
			all = append(all, e)
			continue
		}
		e := &all[len(all)-1]
		if answer, ok := strings.CutPrefix(line, "=> "); ok {
			e.want += answer + "\n"
		} else {
			e.text += line + "\n"
		}
	}
	for i := range all {
		all[i].text = strings.TrimSuffix(all[i].text, "\n")
	}
	return all
}

func writeCorpus(t *testing.T, file string, all []example) {
	t.Helper()
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%s\n%s\n", e.header, e.text)
		for line := range strings.Lines(e.want) {
			fmt.Fprintf(&b, "=> %s", line)
		}
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// answered gives the examples with what Parse says now, an example in parts when
// its sessions do not agree.
func answered(all []example) []example {
	var out []example
	for _, e := range all {
		byAnswer := map[string]int{}
		for _, s := range e.sessions {
			got := answer(Parse(e.text, s.d, s.m))
			i, ok := byAnswer[got]
			if !ok {
				i = len(out)
				byAnswer[got] = i
				out = append(out, example{header: "-- @" + s.name, text: e.text, want: got})
				continue
			}
			out[i].header += " " + s.name
		}
	}
	return out
}

var corpora = []string{
	"testdata/insert.txt", "testdata/update.txt", "testdata/delete.txt", "testdata/merge.txt", "testdata/with.txt",
	"testdata/query.txt", "testdata/session.txt", "testdata/lexical.txt",
}

func TestCorpus(t *testing.T) {
	for _, file := range corpora {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txt"), func(t *testing.T) {
			all := readCorpus(t, file)
			if *rewrite {
				writeCorpus(t, file, answered(all))
				return
			}
			for _, e := range all {
				for _, s := range e.sessions {
					got := answer(Parse(e.text, s.d, s.m))
					if diff := cmp.Diff(e.want, got); diff != "" {
						t.Errorf("%s:%d: %s: %s\n(-want +got):\n%s", file, e.line, s.name, e.text, diff)
					}
				}
			}
		})
	}
}

// TestEveryRefusalIsShown keeps the corpus complete.
func TestEveryRefusalIsShown(t *testing.T) {
	shown := map[string]bool{}
	for _, file := range corpora {
		for _, e := range readCorpus(t, file) {
			for _, s := range e.sessions {
				var r *Refusal
				if _, err := Parse(e.text, s.d, s.m); errors.As(err, &r) {
					shown[r.Code] = true
				}
			}
		}
	}
	outside := map[string]bool{"dialect": true, "too-long": true, "encoding": true, "nul": true, "depth": true}
	seen := map[string]bool{}
	for _, r := range Refusals() {
		if seen[r.Code] {
			t.Errorf("code %q stands twice", r.Code)
		}
		seen[r.Code] = true
		if !shown[r.Code] && !outside[r.Code] {
			t.Errorf("no example is refused as %q", r.Code)
		}
		if r.Reason == "" || strings.HasSuffix(strings.TrimSuffix(r.Reason, "..."), ".") || r.Code != strings.ToLower(r.Code) {
			t.Errorf("refusal %q reads badly: %q", r.Code, r.Reason)
		}
	}
}
