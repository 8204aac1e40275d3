package grammar

import (
	"errors"
	"flag"
	"sort"
	"testing"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

var (
	texts = flag.Int("grammar.texts", 20_000, "texts per server that TestSplitter makes")
	seed  = flag.Uint64("grammar.seed", 1, "seed of the first text")
)

// mayRefuse is the share of texts that Parse may refuse. The generator writes
// rare things far more often than people do.
const mayRefuse = 0.05

func TestSplitter(t *testing.T) {
	all := append(variants[:len(variants):len(variants)], variant{
		name: "sqlite-limit", dialect: sqltext.SQLite, mode: sqltext.Mode{UpdateDeleteLimit: true},
	})
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			g := v.generator(*seed)
			refused, differ, unsplit := map[string]int{}, 0, 0
			shortest := map[string]string{}
			for range *texts {
				s := g.Next()
				st, err := sqltext.Parse(s.Text, v.dialect, v.mode)
				var r *sqltext.Refusal
				switch {
				case errors.As(err, &r):
					refused[r.Code]++
					shorter(shortest, r.Code, s.Text)
				case err != nil:
					t.Fatalf("an error that is no refusal: %v\n  %s", err, s.Text)
				case !s.Split(st):
					unsplit++
					fallthrough
				default:
					if d := s.Check(st); d != "" {
						differ++
						shorter(shortest, "differ "+firstField(d), s.Text+"\n    "+d)
					}
				}
			}
			report(t, refused, shortest)
			if differ > 0 {
				t.Errorf("%d of %d texts read wrong (seed %d)", differ, *texts, *seed)
			}
			sum := 0
			for _, n := range refused {
				sum += n
			}
			t.Logf("%d texts, %d refused (%.2f %%), %d locking SELECTs of one table not split", *texts, sum, 100*float64(sum)/float64(*texts), unsplit)
			if float64(sum) > mayRefuse*float64(*texts) {
				t.Errorf("%d of %d texts refused", sum, *texts)
			}
		})
	}
}

func shorter(shortest map[string]string, key, text string) {
	if old, ok := shortest[key]; !ok || len(text) < len(old) {
		shortest[key] = text
	}
}

func firstField(differ string) string {
	for i, r := range differ {
		if r == ':' {
			return differ[:i]
		}
	}
	return differ
}

func report(t *testing.T, refused map[string]int, shortest map[string]string) {
	t.Helper()
	keys := make([]string, 0, len(shortest))
	for key := range shortest {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		t.Logf("%s (%d):\n  %s", key, refused[key], shortest[key])
	}
}

// TestSameSeed holds that a seed names its texts, so that a report can be repeated.
func TestSameSeed(t *testing.T) {
	for _, v := range variants {
		a, b := v.generator(7), v.generator(7)
		for range 200 {
			if x, y := a.Next(), b.Next(); x.Text != y.Text {
				t.Fatalf("%s: one seed made two texts:\n%s\n%s", v.name, x.Text, y.Text)
			}
		}
	}
}

// TestCheckSeesDamage holds that Check finds each kind of wrong answer: it
// damages the truth and compares.
func TestCheckSeesDamage(t *testing.T) {
	damages := map[string]func(*sqltext.Statement) bool{
		"where": func(st *sqltext.Statement) bool { had := st.Where.End > 0; st.Where = sqltext.Span{}; return had },
		"table": func(st *sqltext.Statement) bool {
			had := len(st.Targets) == 1
			if had {
				st.Targets = []sqltext.Table{st.Targets[0]}
				st.Targets[0].Name.Table += "x"
			}
			return had
		},
		"kind":  func(st *sqltext.Statement) bool { st.Kind++; return true },
		"limit": func(st *sqltext.Statement) bool { had := st.Limit.End > 0; st.Limit.End--; return had },
		"param": func(st *sqltext.Statement) bool {
			had := len(st.Placeholders) > 0
			if had {
				st.Placeholders = st.Placeholders[1:]
			}
			return had
		},
		"call": func(st *sqltext.Statement) bool {
			had := len(st.Functions) > 0
			if had {
				st.Functions = st.Functions[1:]
			}
			return had
		},
		"row": func(st *sqltext.Statement) bool {
			had := len(st.Rows) > 0
			if had {
				st.Rows = st.Rows[1:]
			}
			return had && st.Source != sqltext.SourceDefaults
		},
	}
	for name, damage := range damages {
		found := 0
		for g := New(sqltext.MySQL, sqltext.Mode{}, 3); found < 50; {
			s := g.Next()
			if s.Want.Kind != sqltext.Insert && s.Want.Kind != sqltext.Update && s.Want.Kind != sqltext.Delete {
				continue
			}
			got := *s.Want
			if d := s.Check(&got); d != "" {
				t.Fatalf("the truth differs from itself: %s", d)
			}
			if !damage(&got) {
				continue
			}
			if found++; s.Check(&got) == "" {
				t.Fatalf("%s: damage not seen in %s", name, s.Text)
			}
		}
	}
}
