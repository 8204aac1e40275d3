package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

func TestAssignments(t *testing.T) {
	for text, want := range map[string][]string{
		"UPDATE a SET id = 1":                                {"1"},
		"UPDATE a SET id=1,b = (SELECT x, '(' FROM y),c=d=e": {"1", "(SELECT x, '(' FROM y)", "d=e"},
		"UPDATE a SET `a=,`=', ''=' , b = \",\"":             {"', ''='", "\",\""},
		"UPDATE a SET id = f(1, 2), b = -1 - 2 WHERE c = 3":  {"f(1, 2)", "-1 - 2"},
		"UPDATE a SET id = 1 /* , */, b = 2":                 nil,
		"UPDATE a SET id = 1 -- x\n, b = 2":                  nil,
		"UPDATE a SET id = 1 # x\n, b = 2":                   nil,
		`UPDATE a SET id = '\'', b = 2`:                      nil,
	} {
		s, err := sqltext.Parse(text, sqltext.MySQL, sqltext.Mode{})
		if err != nil {
			if want != nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		var got []string
		for _, a := range assignments(s, s.Set, s.SetColumns) {
			got = append(got, strings.TrimSpace(s.Slice(a.expr)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestMentions(t *testing.T) {
	for text, want := range map[string]bool{"v": true, "x + `V`": true, "a.v*2": true, "vv": false, "v1": false, "_v": false, "日v": false, "": false, "av, v": true} {
		if got := mentions(text, "v"); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
