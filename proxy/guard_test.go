package proxy

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

func TestFirstWord(t *testing.T) {
	for text, want := range map[string]string{
		"UPDATE t":                       "update",
		" \n(( Select 1))":               "select",
		"-- a comment\n# and\n/* b */ x": "x",
		"/* open":                        "",
		"-- a\rdelete from t where id in (\nselect 1)": "",
		"-- windows\r\nselect 1":                       "select",
		"/*/ x */ delete":                              "delete",
		"/* /* */ select */ update t":                  "",
		"/*! UPDATE t */":                              "",
		"/*M! UPDATE t */":                             "",
		"/* a *//*! UPDATE t */":                       "",
		"; ;delete;":                                   "delete",
		"":                                             "",
		"123":                                          "",
		"select(1)":                                    "select",
		"update\u00e9":                                 "update",
	} {
		if got := firstWord(text); got != want {
			t.Errorf("firstWord(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestVerbs: no word that can begin a statement which writes rows is harmless.
func TestVerbs(t *testing.T) {
	for _, word := range []string{
		"insert", "update", "delete", "replace", "merge", "with", "truncate", "copy", "load", "import", "call", "do", "execute",
		"prepare", "explain", "desc", "describe", "analyze", "handler", "if", "while", "loop", "for", "repeat", "", "unheard",
	} {
		if class, known := verbs[word]; known && class != writes {
			t.Errorf("%q is taken for class %d", word, class)
		}
	}
	for _, word := range []string{"begin", "start", "commit", "end", "rollback", "abort", "xa"} {
		if verbs[word] != ends {
			t.Errorf("%q does not end a local transaction", word)
		}
	}
}

func TestRollsBackTo(t *testing.T) {
	for text, want := range map[string]bool{
		"ROLLBACK TO a": true, "ROLLBACK WORK TO SAVEPOINT a": true, "ROLLBACK": false, "ROLLBACK WORK": false,
		"ROLLBACK; DELETE FROM t": false, "ROLLBACK TRANSACTION": false, "ROLLBACK AND CHAIN": false, "ROLLBACK WORK AND CHAIN": false, "ROLLBACK PREPARED 'to x'": false,
	} {
		if got := rollsBackTo("rollback", text); got != want {
			t.Errorf("rollsBackTo(%q) = %t, want %t", text, got, want)
		}
	}
}

// TestGuardXIDs: every guarded transaction has a name of its own, in a log that
// no coordinator has, and in canonical form.
func TestGuardXIDs(t *testing.T) {
	c := &conn{res: &Resource{}}
	seen := map[gtx.XID]bool{}
	for range 100 {
		b := c.newGuarded(t.Context(), driver.TxOptions{}, true)
		if x, err := gtx.ParseXID(b.xid.String()); err != nil || x != b.xid || x.Log != 0 || seen[x] {
			t.Fatalf("xid %s: %v", b.xid, err)
		}
		seen[b.xid] = true
	}
}

func TestGuardError(t *testing.T) {
	other := errors.New("duplicate key")
	if got := guardError(other); got != other { //nolint:errorlint // unchanged, not like it
		t.Errorf("got %v", got)
	}
	if guardError(nil) != nil {
		t.Error("no error became one")
	}
	u := &gtx.UnsupportedError{Code: "truncate"}
	var got *gtx.UnsupportedError
	if err := guardError(fmt.Errorf("target: %w", u)); !errors.As(err, &got) || got != u {
		t.Errorf("got %v", err)
	}
}
