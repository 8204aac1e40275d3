package report

import (
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

func TestMode(t *testing.T) {
	for _, m := range []gtx.Mode{gtx.AT, gtx.XA} {
		var values []string
		if text := FormatMode(m); text != "" {
			values = []string{text}
		}
		if got, err := ParseMode(values); err != nil || got != m {
			t.Errorf("%s became %s, %v", m, got, err)
		}
	}
	if text := FormatMode(gtx.ThreePhase); text != "" {
		t.Errorf("3PC is in the XID, got %q, too", text)
	}
	for _, bad := range [][]string{{""}, {"XA"}, {"at"}, {"xa", "xa"}, {"3pc"}} {
		if got, err := ParseMode(bad); err == nil {
			t.Errorf("%q was read as %s", bad, got)
		}
	}
}
