package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// verdictsOf runs transactions on a machine, each committed or not, and gives
// what its log says of them.
func verdictsOf(t *testing.T, commits ...bool) (v *verdicts, xids []string) {
	t.Helper()
	m, err := coordinator.New(coordinator.Config{}, 1, 7)
	if err != nil {
		t.Fatal(err)
	}
	actions, err := m.Campaign()
	if err != nil {
		t.Fatal(err)
	}
	var log [][]byte
	now := time.Now()
	step := func(e coordinator.Event) (last coordinator.Reply) {
		queue := append([]coordinator.Action(nil), actions...)
		actions = nil
		if e != nil {
			queue = append(queue, m.Step(now, e)...)
		}
		for len(queue) > 0 {
			switch a := queue[0].(type) {
			case coordinator.Append:
				log = append(log, a.Body)
				queue = append(queue, m.Step(now, coordinator.Landed{Seq: a.Prev + 1})...)
			case coordinator.Reply:
				last = a
			}
			queue = queue[1:]
		}
		return last
	}
	step(nil)
	for _, commit := range commits {
		begun := step(coordinator.Begin{})
		ref := gtx.BranchRef{Resource: "r", Branch: 1}
		step(coordinator.Register{XID: begun.XID, Ref: ref})
		if commit {
			step(coordinator.Commit{XID: begun.XID, Confirmed: []gtx.BranchRef{ref}})
		}
		xids = append(xids, begun.XID.String())
	}
	reader, err := newReader()
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range log {
		if err := reader.Load(uint64(i+1), now, body); err != nil {
			t.Fatal(err)
		}
	}
	if v, err = judge(reader, uint64(len(log))); err != nil {
		t.Fatal(err)
	}
	return v, xids
}

// The checker is worth only what it finds.
func TestCheckLogFinds(t *testing.T) {
	v, xid := verdictsOf(t, true, false, true)
	if got := []string{v.of(xid[0]), v.of(xid[1]), v.of(xid[2])}; strings.Join(got, " ") != "committed aborted committed" || v.commits != 2 {
		t.Fatalf("verdicts %v, %d commits", got, v.commits)
	}
	both := map[string][]string{"t1": {xid[1], xid[0]}, "t2": {xid[2]}}
	cases := map[string]struct {
		tries map[string][]string
		there []string
		want  string
	}{
		"nothing wrong":             {both, []string{"t1", "t2"}, ""},
		"committed and not there":   {both, []string{"t2"}, "transfer t1: 1 commit records"},
		"there and not committed":   {map[string][]string{"t1": {xid[1]}, "t2": {xid[2], xid[0]}}, []string{"t1", "t2"}, "transfer t1: 0 commit records"},
		"committed twice":           {map[string][]string{"t1": {xid[0], xid[2]}}, []string{"t1"}, "transfer t1: 2 commit records"},
		"there and never tried":     {both, []string{"t1", "t2", "t3"}, "t3 stands in the databases and was never tried"},
		"a commit nobody asked for": {map[string][]string{"t1": {xid[0]}}, []string{"t1"}, "2 commit records, 1 of them"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			there := map[string]bool{}
			for _, id := range tc.there {
				there[id] = true
			}
			got := strings.Join(checkLog(&history{tries: tc.tries}, v, there), "\n")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLongest(t *testing.T) {
	commits := []int64{10, 20, 50, 60, 90}
	for _, tc := range []struct{ from, to, want int64 }{
		{0, 100, 30},
		{20, 50, 30},
		{25, 45, 20},
		{55, 60, 5},
		{91, 200, 109},
		{60, 65, 5},
	} {
		if got := longest(commits, tc.from, tc.to); got != time.Duration(tc.want) {
			t.Errorf("%d..%d: got %d, want %d", tc.from, tc.to, got, tc.want)
		}
	}
}
