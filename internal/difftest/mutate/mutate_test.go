package mutate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/difftest/mutate"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var seeds = []string{
	"UPDATE t SET a = 1, b = 'x' WHERE id = ? AND c IN (1, 2)",
	"DELETE FROM s AS d WHERE d.a = (SELECT max(a) FROM t)",
	"INSERT INTO t (a, b) VALUES (1, NULL), (?, 'it''s')",
}

func mutants(seed uint64, n int) []string {
	mu := mutate.New(sqltext.SQLite, sqltext.Mode{}, seeds, seed)
	texts := make([]string, n)
	for i := range texts {
		texts[i] = mu.Next()
	}
	return texts
}

func TestMutantsAreTheSameForASeed(t *testing.T) {
	a, b, c := mutants(7, 2000), mutants(7, 2000), mutants(8, 2000)
	if !slices.Equal(a, b) {
		t.Error("the same seed gave other mutants")
	}
	if slices.Equal(a, c) {
		t.Error("another seed gave the same mutants")
	}
}

func TestMutantsSeldomRepeat(t *testing.T) {
	const n = 20_000
	texts := mutants(1, n)
	slices.Sort(texts)
	if got := len(slices.Compact(texts)); got < n*99/100 {
		t.Errorf("%d of %d mutants are different", got, n)
	}
}

func TestMutantsStayShort(t *testing.T) {
	for _, text := range mutants(3, 20_000) {
		if len(text) > 700 {
			t.Fatalf("a mutant of %d bytes: %s", len(text), text)
		}
	}
}

// TestMutantsReachWhatLexersTripOver looks for each form among the mutants.
func TestMutantsReachWhatLexersTripOver(t *testing.T) {
	texts := mutants(5, 20_000)
	for _, form := range []string{"X'41'", "/*", "--", "''''", "[", "`", "$p", "@p", "1_000", ";", "EXPLAIN", "WITH RECURSIVE", "COLLATE"} {
		if !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, form) }) {
			t.Errorf("no mutant has %s", form)
		}
	}
}

func TestSweepPutsEveryWordEverywhere(t *testing.T) {
	for _, d := range []sqltext.Dialect{sqltext.MySQL, sqltext.MariaDB, sqltext.Postgres, sqltext.SQLite} {
		words := mutate.Keywords(d)
		if len(words) < 140 || !slices.IsSorted(words) {
			t.Fatalf("dialect %d: %d words, sorted %v", d, len(words), slices.IsSorted(words))
		}
		texts := slices.Collect(mutate.Sweep(d))
		if len(texts) < 45*len(words) {
			t.Errorf("dialect %d: %d texts of %d words", d, len(texts), len(words))
		}
		for _, text := range texts {
			if strings.Contains(text, "%") {
				t.Fatalf("dialect %d: %q has a place left", d, text)
			}
		}
	}
}

func TestShrinkLeavesWhatMatters(t *testing.T) {
	text := "UPDATE t SET a = (1 + 2), b = 'it''s' /* c */ WHERE id = 3 AND d IN (4, 5)"
	got := mutate.Shrink(text, sqltext.SQLite, sqltext.Mode{}, func(s string) bool {
		return strings.Contains(s, "'it''s'") && strings.Contains(s, "WHERE")
	})
	if got != "'it''s'WHERE" {
		t.Errorf("Shrink = %q", got)
	}
}
