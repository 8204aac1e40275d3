package gtxhttp

import (
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/google/go-cmp/cmp"
)

var testXID = gtx.XID{Log: 7, Epoch: 2, Seq: 3}

func TestReportRoundTrip(t *testing.T) {
	confirmed := []gtx.BranchRef{{Resource: "a", Branch: 1}, {Resource: "b:1.x_y-z", Branch: 1<<63 - 1}}
	dead := []gtx.BranchRef{{Resource: "a", Branch: 2}}
	s, err := formatReport(testXID, confirmed, dead)
	if err != nil {
		t.Fatal(err)
	}
	if want := "0000000000000007-0-2-3 +a/1 +b:1.x_y-z/9223372036854775807 -a/2"; s != want {
		t.Errorf("got %q, want %q", s, want)
	}
	gotConfirmed, gotDead, err := parseReport(s, testXID)
	if diff := cmp.Diff(confirmed, gotConfirmed) + cmp.Diff(dead, gotDead); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestReportThatCannotBeWritten(t *testing.T) {
	for _, ref := range []gtx.BranchRef{
		{Resource: "", Branch: 1},
		{Resource: "a b", Branch: 1},
		{Resource: "a/b", Branch: 1},
		{Resource: "a\r\n", Branch: 1},
		{Resource: "ä", Branch: 1},
		{Resource: "a", Branch: 0},
		{Resource: "a", Branch: -1},
		{Resource: gtx.ResourceID(strings.Repeat("a", 65)), Branch: 1},
	} {
		if _, err := formatReport(testXID, nil, []gtx.BranchRef{ref}); !errors.Is(err, ErrBadReport) {
			t.Errorf("%+v: %v, want ErrBadReport", ref, err)
		}
	}
	if _, err := formatReport(testXID, make([]gtx.BranchRef, maxBranches+1), nil); !errors.Is(err, ErrBadReport) {
		t.Errorf("too many: %v, want ErrBadReport", err)
	}
}

func FuzzParseReport(f *testing.F) {
	head := testXID.String()
	for _, s := range []string{"", head, head + " +a/1", head + " -a/1 +a/1", head + " +a/01", head + "  +a/1", head + " a/1", head + " +/1", head + " +a/-1", head + " +a", head + " +a/1 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		confirmed, dead, err := parseReport(s, testXID)
		if err != nil {
			if !errors.Is(err, ErrBadReport) || confirmed != nil || dead != nil {
				t.Fatalf("%q: %v with %v %v", s, err, confirmed, dead)
			}
			return
		}
		again, err := formatReport(testXID, confirmed, dead)
		if err != nil {
			t.Fatal(err)
		}
		c2, d2, err := parseReport(again, testXID)
		if diff := cmp.Diff(confirmed, c2) + cmp.Diff(dead, d2); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
	})
}
