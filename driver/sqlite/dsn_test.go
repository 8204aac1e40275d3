package sqlite

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitDSN(t *testing.T) {
	for _, c := range []struct {
		dsn, base string
		params    map[string]string
	}{
		{"bank.db", "bank.db?_busy_timeout=5000", nil},
		{"file:bank.db?gtx_lock_wait=2s&mode=rw", "file:bank.db?mode=rw&_busy_timeout=5000", map[string]string{"gtx_lock_wait": "2s"}},
		{"b.db?_pragma=Busy_Timeout(7)&gtx_scan_interval=1s", "b.db?_pragma=Busy_Timeout(7)", map[string]string{"gtx_scan_interval": "1s"}},
		{"b.db?_timeout=9", "b.db?_timeout=9", nil},
		{":memory:", ":memory:?_busy_timeout=5000", nil},
		{"", "", nil},
	} {
		base, params, err := SplitDSN(c.dsn)
		if err != nil {
			t.Errorf("%s: %v", c.dsn, err)
		}
		if c.params == nil {
			c.params = map[string]string{}
		}
		if diff := cmp.Diff(c.base, base) + cmp.Diff(c.params, params); diff != "" {
			t.Errorf("%s:\n%s", c.dsn, diff)
		}
	}
	if _, _, err := SplitDSN("b.db?gtx_x=1&gtx_x=2"); err == nil {
		t.Error("a parameter that stands twice was taken")
	}
	if got := Redact("b.db?_pragma=key('secret')"); got != "b.db?..." {
		t.Error(got)
	}
}
