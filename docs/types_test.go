package docs

import (
	"os"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/coltype"
)

// typeTables gives the generated part of types.md.
func typeTables() string {
	var b strings.Builder
	for i, s := range coltype.Servers() {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString("## " + s.Title + "\n\n| type | column | in the primary key | key set by UPDATE | unique key met by an upsert | values tried, beside NULL |\n|---|---|---|---|---|---|\n")
		for _, t := range s.Types {
			b.WriteString(typeLine(t))
		}
		b.WriteString("\nSessions tried:")
		for _, session := range s.Sessions {
			b.WriteString(" " + session.Name + ";")
		}
		b.WriteString("\n")
		if len(s.Refused) > 0 {
			b.WriteString("\n| session | every statement that writes |\n|---|---|\n")
			for _, session := range s.Refused {
				b.WriteString("| `" + session.Name + "` | refused: `" + session.Code + "` |\n")
			}
		}
	}
	return b.String()
}

func typeLine(t coltype.Type) string {
	name := strings.TrimSpace(t.Name + " " + t.Options)
	if t.Name == "" {
		name = strings.TrimSpace("(no type) " + t.Options)
	}
	cells := []string{code(name)}
	if t.Covers != nil {
		cells[0] += ", " + code(strings.Join(t.Covers, "`, `"))
	}
	if t.Only != nil {
		cells[0] += " (" + strings.Join(t.Only, ", ") + ")"
	}
	move := t.Move
	if t.Key != coltype.Captured {
		move = coltype.NoSuch
	}
	values := strings.Join(t.Values, " ")
	if r := []rune(values); len(r) > 120 {
		values = string(r[:120]) + " …"
	}
	cells = append(cells, said(t.Column), said(t.Key), said(move), said(t.UpsertAnswer()), code(values))
	return "| " + strings.Join(cells, " | ") + " |\n"
}

func said(a coltype.Answer) string {
	switch a {
	case coltype.Captured:
		return "restored"
	case coltype.NoSuch:
		return "–"
	}
	return "refused: `" + string(a) + "`"
}

func code(text string) string {
	return "`" + strings.ReplaceAll(text, "|", "\\|") + "`"
}

// TestTypesPage holds that the tables of types.md are those that the tests on the
// servers go through.
func TestTypesPage(t *testing.T) {
	text := read(t, "types.md")
	before, rest, ok1 := strings.Cut(text, generatedFrom)
	got, after, ok2 := strings.Cut(rest, generatedTo)
	if !ok1 || !ok2 {
		t.Fatal("types.md has lost the marks of its generated part")
	}
	want := "\n" + typeTables() + "\n"
	if *rewrite {
		if err := os.WriteFile("types.md", []byte(before+generatedFrom+want+generatedTo+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want {
		t.Error("the tables of types.md are not the list: go test ./docs -rewrite, and read the difference")
	}
}
