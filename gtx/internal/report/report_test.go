package report_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/report"
	"github.com/google/go-cmp/cmp"
)

var testXID = gtx.XID{Log: 7, Epoch: 2, Seq: 3}

const head = "0000000000000007-0-2-3"

func TestRoundTrip(t *testing.T) {
	confirmed := []gtx.BranchRef{{Resource: "b:1.x_y-z", Branch: 1<<63 - 1}, {Resource: "a", Branch: 9}, {Resource: "a", Branch: 1}}
	dead := []gtx.BranchRef{{Resource: "a", Branch: 2}}
	s, err := report.Format(testXID, confirmed, dead, report.MaxSize)
	if err != nil {
		t.Fatal(err)
	}
	if want := head + " +a/1,8 +b:1.x_y-z/9223372036854775807 -a/2"; s != want {
		t.Errorf("got %q, want %q", s, want)
	}
	gotConfirmed, gotDead, err := report.Parse(s, testXID)
	wantConfirmed := []gtx.BranchRef{{Resource: "a", Branch: 1}, {Resource: "a", Branch: 9}, {Resource: "b:1.x_y-z", Branch: 1<<63 - 1}}
	if diff := cmp.Diff(wantConfirmed, gotConfirmed) + cmp.Diff(dead, gotDead); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if confirmed[0].Resource != "b:1.x_y-z" {
		t.Error("Format has sorted the caller's list")
	}
}

func TestReportWithoutBranches(t *testing.T) {
	s, err := report.Format(testXID, nil, nil, report.MaxSize)
	if s != head || err != nil {
		t.Fatalf("got %q, %v", s, err)
	}
	confirmed, dead, err := report.Parse(s, testXID)
	if confirmed != nil || dead != nil || err != nil {
		t.Errorf("got %v, %v, %v", confirmed, dead, err)
	}
}

// A transaction with all the branches that it may have, minted as fast as this
// machine can and as slowly as one in three milliseconds.
func TestManyBranchesFit(t *testing.T) {
	const uuid gtx.ResourceID = "3b8b3c9e-7d1c-4c4e-9d5e-0d1a2b3c4d5e"
	var fast, slow []gtx.BranchRef
	first := gtx.NewBranchID()
	for i := range report.MaxBranches {
		fast = append(fast, gtx.BranchRef{Resource: uuid, Branch: gtx.NewBranchID()})
		slow = append(slow, gtx.BranchRef{Resource: uuid, Branch: first + gtx.BranchID(i)*3000<<10})
	}
	for name, tc := range map[string]struct {
		refs  []gtx.BranchRef
		limit int
	}{"fast": {fast, 6 << 10}, "slow": {slow, 9 << 10}} {
		s, err := report.Format(testXID, tc.refs, nil, tc.limit)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _, err := report.Parse(s, testXID)
		if diff := cmp.Diff(tc.refs, got); diff != "" || err != nil {
			t.Error(name, diff, err)
		}
	}
}

func TestReportThatCannotBeWritten(t *testing.T) {
	twice := gtx.BranchRef{Resource: "a", Branch: 1}
	cases := map[string][]gtx.BranchRef{
		"empty resource": {{Resource: "", Branch: 1}},
		"space":          {{Resource: "a b", Branch: 1}},
		"slash":          {{Resource: "a/b", Branch: 1}},
		"comma":          {{Resource: "a,b", Branch: 1}},
		"line":           {{Resource: "a\r\n", Branch: 1}},
		"not ASCII":      {{Resource: "ä", Branch: 1}},
		"zero":           {{Resource: "a", Branch: 0}},
		"negative":       {{Resource: "a", Branch: -1}},
		"long resource":  {{Resource: gtx.ResourceID(strings.Repeat("a", 65)), Branch: 1}},
		"twice":          {twice, twice},
		"too many":       make([]gtx.BranchRef, report.MaxBranches+1),
	}
	for name, refs := range cases {
		t.Run(name, func(t *testing.T) {
			if s, err := report.Format(testXID, nil, refs, report.MaxSize); !errors.Is(err, report.ErrBad) || s != "" {
				t.Errorf("got %q, %v, want ErrBad", s, err)
			}
		})
	}
}

func TestReportBeyondTheLimit(t *testing.T) {
	refs := []gtx.BranchRef{{Resource: "a", Branch: 1}}
	want := head + " +a/1"
	if s, err := report.Format(testXID, refs, nil, len(want)); s != want || err != nil {
		t.Errorf("at the limit: %q, %v", s, err)
	}
	if s, err := report.Format(testXID, refs, nil, len(want)-1); s != "" || !errors.Is(err, report.ErrBad) {
		t.Errorf("beyond the limit: %q, %v, want ErrBad", s, err)
	}
}

func TestReportThatIsNotBelieved(t *testing.T) {
	cases := map[string]string{
		"empty":                "",
		"another transaction":  "0000000000000007-0-2-4 +a/1",
		"same branch, both":    head + " +a/1 -a/1",
		"same group twice":     head + " +a/1 +a/2",
		"order of groups":      head + " +b/1 +a/1",
		"dead first":           head + " -b/1 +a/1",
		"distance zero":        head + " +a/1,0",
		"distance negative":    head + " +a/2,-1",
		"beyond int64":         head + " +a/9223372036854775807,1",
		"leading zero":         head + " +a/01",
		"plus":                 head + " +a/+1",
		"no sign":              head + " a/1",
		"no resource":          head + " +/1",
		"no branch":            head + " +a/",
		"no slash":             head + " +a",
		"two spaces":           head + "  +a/1",
		"space at the end":     head + " +a/1 ",
		"space without groups": head + " ",
		"comma at the end":     head + " +a/1,",
		"too many":             head + " +a/1" + strings.Repeat(",1", report.MaxBranches),
		"too many groups":      head + strings.Repeat(" +a/1", report.MaxBranches+1),
		"too long":             head + " +a/" + strings.Repeat("1", report.MaxSize),
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			confirmed, dead, err := report.Parse(s, testXID)
			if !errors.Is(err, report.ErrBad) || confirmed != nil || dead != nil {
				t.Errorf("got %v, %v, %v, want ErrBad", confirmed, dead, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", head, head + " +a/1", head + " -a/1", head + " +a/1,2,3 -a/2", head + " +a/01", head + "  +a/1", head + " +a/1 ", head + " +a/1,9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		confirmed, dead, err := report.Parse(s, testXID)
		if err != nil {
			if !errors.Is(err, report.ErrBad) || confirmed != nil || dead != nil {
				t.Fatalf("%q: %v with %v %v", s, err, confirmed, dead)
			}
			return
		}
		again, err := report.Format(testXID, confirmed, dead, report.MaxSize)
		if err != nil || again != s {
			t.Fatalf("%q is written as %q, %v", s, again, err)
		}
	})
}
