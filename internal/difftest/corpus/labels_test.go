package corpus

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// maxRefused is the share of realistic statements that the splitter may refuse,
// each listed by the except of its label.
const maxRefused = 0.005

// TestLabels holds the splitter against what people say of each text.
func TestLabels(t *testing.T) {
	realistic, excepted := 0, 0
	for _, e := range All() {
		for _, d := range e.Dialects {
			st, err := sqltext.Parse(e.Text, d, sqltext.Mode{})
			var refusal *sqltext.Refusal
			if err != nil && !errors.As(err, &refusal) {
				t.Fatalf("%s: Parse gave %T, want a *Refusal", e.Where, err)
			}
			if e.Label.Kind == Refused {
				checkRefused(t, e, d, st, refusal)
				continue
			}
			realistic += counted(e)
			switch {
			case e.Label.Except != "":
				excepted += counted(e)
				if refusal == nil || refusal.Code != e.Label.Except {
					t.Errorf("%s: dialect %d: label excepts code %s, got %v: understood now? then drop the except\n%s",
						e.Where, d, e.Label.Except, refusal, e.Text)
				}
			case refusal != nil:
				t.Errorf("%s: dialect %d: refused with code %s, should be understood\n%s", e.Where, d, refusal.Code, e.Text)
			default:
				if diff := compare(e.Label, describe(st)); diff != "" {
					t.Errorf("%s: dialect %d: -label +splitter\n%s\n%s", e.Where, d, diff, e.Text)
				}
				for _, call := range e.Label.Calls {
					if !slices.Contains(st.Functions, call) {
						t.Errorf("%s: dialect %d: Functions %q lack %s\n%s", e.Where, d, st.Functions, call, e.Text)
					}
				}
			}
		}
	}
	if float64(excepted) > maxRefused*float64(realistic) {
		t.Errorf("%d of %d realistic statements are excepted, more than %.1f%%", excepted, realistic, 100*maxRefused)
	}
	t.Logf("%d realistic statements, %d excepted", realistic, excepted)
}

// counted is 1 for what writes and is no contrived text: the share of refusals is
// of these.
func counted(e Example) int {
	if e.Label.writes() && !strings.HasPrefix(e.Where, "tricky.txt:") {
		return 1
	}
	return 0
}

func checkRefused(t *testing.T, e Example, d sqltext.Dialect, st *sqltext.Statement, refusal *sqltext.Refusal) {
	t.Helper()
	switch {
	case refusal == nil:
		t.Errorf("%s: dialect %d: must be refused, got kind %s\n%s", e.Where, d, kindOf(st), e.Text)
	case e.Label.Code != "" && e.Label.Code != refusal.Code:
		t.Errorf("%s: dialect %d: refused with code %s, want %s\n%s", e.Where, d, refusal.Code, e.Label.Code, e.Text)
	default:
		t.Logf("%s: dialect %d: code %s: %.60q", e.Where, d, refusal.Code, e.Text)
	}
}

func compare(want, got Label) string {
	got.Calls = want.Calls // a choice of them, held against Functions alone
	if want.Params < 0 {
		got.Params = want.Params
	}
	if got.Kind == "explain" { // what it explains is not run
		got = Label{Kind: got.Kind, Params: got.Params, Calls: got.Calls}
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// TestSize keeps the corpus from shrinking unseen.
func TestSize(t *testing.T) {
	kindCount := map[string]int{}
	texts := map[string]string{}
	for _, e := range All() {
		kindCount[e.Label.Kind]++
		for _, d := range e.Dialects {
			key := string(rune('0'+d)) + e.Text
			if first, ok := texts[key]; ok {
				t.Errorf("%s: the text stands at %s already, for the same dialect", e.Where, first)
			}
			texts[key] = e.Where
		}
	}
	writes := kindCount["insert"] + kindCount["replace"] + kindCount["update"] + kindCount["delete"] + kindCount["merge"]
	if writes < 700 || kindCount[Refused] < 80 {
		t.Errorf("got %d statements that write and %d that must be refused, want at least 700 and 80", writes, kindCount[Refused])
	}
	t.Logf("%d examples, %v", len(All()), kindCount)
	for _, d := range []sqltext.Dialect{sqltext.MySQL, sqltext.MariaDB, sqltext.Postgres, sqltext.SQLite} {
		if n := len(Texts(d)); n < 250 {
			t.Errorf("dialect %d: got %d texts, want at least 250", d, n)
		}
	}
}

// TestReadRejects tells that a broken entry does not become a label silently.
func TestReadRejects(t *testing.T) {
	for _, entry := range []string{
		"SELECT 1",
		"-- @mysql | x | select",
		"-- @mysql | select\nSELECT 1",
		"-- @oracle | x | select\nSELECT 1",
		"-- @mysql | x | scan\nSELECT 1",
		"-- @mysql | x | update t where\nUPDATE t SET a = 1 WHERE b = 2",
		"-- @mysql | x | update set=a\nUPDATE t SET a = 1",
		"-- @mysql | x | insert t columns=a\nINSERT INTO t (a) VALUES (1)",
		"-- @mysql | x | delete t whrere\nDELETE FROM t",
		"-- @mysql | x | delete t where where\nDELETE FROM t",
		"-- @mysql | x | delete t wheres=1\nDELETE FROM t",
		"-- @mysql | x | insert t values=many\nINSERT INTO t VALUES (1)",
		"-- @mysql | x | select lock\nSELECT 1 FROM t FOR UPDATE",
		"-- @mysql | x | merge t on\nMERGE INTO t",
		"-- @mysql | x | several\nSELECT 1; SELECT 2",
	} {
		if es, err := read("x", entry); err == nil {
			t.Errorf("read(%q) = %+v, want an error", entry, es)
		}
	}
}

// TestReadTemplates shows what becomes of a template.
func TestReadTemplates(t *testing.T) {
	es, err := read("x", "\n\n-- @each mysql mariadb postgres sqlite | gorm | update a~b set=c where\nUPDATE {a b} SET {c} = ? WHERE d = ?\n\n"+
		"-- @each mysql sqlite | gorm | select\nSELECT 1 WHERE a = ?")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range es {
		got = append(got, e.Where+" "+strings.Join(e.Servers, ",")+" "+e.Text)
	}
	slices.Sort(got)
	want := []string{
		"x:3 mysql,mariadb UPDATE `a b` SET `c` = ? WHERE d = ?",
		`x:3 postgres UPDATE "a b" SET "c" = $1 WHERE d = $2`,
		`x:3 sqlite UPDATE "a b" SET "c" = ? WHERE d = ?`,
		"x:6 mysql,sqlite SELECT 1 WHERE a = ?",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
