package chaos

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/globaltx/globaltx/gtx"
)

// fate is the state of one XID: a register that is written once.
type fate int

const (
	undecided fate = iota
	committed
	aborted
)

// registers is what the protocol promises of fates (rules C2 to C4, L8), as a
// sequential object per XID. Only a Commit request makes a transaction
// committed. Anything may make it aborted: a deadline, the end of an epoch. An
// answer that settles nothing may stand for either effect, or none, at any time
// from the request on, also after the answer.
func registers() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{undecided} },
		Step: func(state, in, out any) []any {
			s, told := state.(fate), out.(string)
			switch {
			case told == gtx.Committed.String() && (s == committed || s == undecided && in == "commit"):
				return []any{committed}
			case told == gtx.Aborted.String() && s != committed:
				return []any{aborted}
			case told == gtx.Committed.String(), told == gtx.Aborted.String():
				return nil
			case s == undecided && in == "commit":
				return []any{undecided, committed, aborted}
			case s == undecided && in == "rollback":
				return []any{undecided, aborted}
			}
			return []any{s}
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%s: %s", in, out) },
		DescribeState:     func(s any) string { return fmt.Sprint(s) },
	}
	return m.ToModel()
}

// checkRegisters gives the XIDs whose history is not that of a register written
// once, each with what was recorded. log tells the fate that the decision log
// holds in the end, which must agree; it may be nil.
func checkRegisters(ops []op, log func(xid string) string) (bad []string, checked int, err error) {
	by := map[string][]op{}
	end := int64(0)
	for _, o := range ops {
		by[o.xid] = append(by[o.xid], o)
		end = max(end, o.call, o.back)
	}
	model := registers()
	for xid, all := range by {
		var history []porcupine.Operation
		for i, o := range all {
			final := o.told == gtx.Committed.String() || o.told == gtx.Aborted.String()
			p := porcupine.Operation{ClientId: i, Input: o.name, Output: o.told, Call: o.call, Return: o.back}
			if !final {
				if o.name != "commit" && o.name != "rollback" {
					continue // a question without an answer
				}
				p.Return = math.MaxInt64 // it may come about later
			}
			history = append(history, p)
		}
		if log != nil {
			history = append(history, porcupine.Operation{ClientId: len(all), Input: "outcome", Output: log(xid), Call: end + 1, Return: end + 2})
		}
		switch porcupine.CheckOperationsTimeout(model, history, time.Minute) {
		case porcupine.Ok:
			checked++
		case porcupine.Illegal:
			bad = append(bad, fmt.Sprintf("%s is no register written once: %+v", xid, history))
		default:
			return bad, checked, fmt.Errorf("check the history of %s: it takes longer than a minute", xid)
		}
	}
	slices.Sort(bad)
	return bad, checked, nil
}

// The checker is worth only what it finds.
func TestC3RegistersFinds(t *testing.T) {
	cases := map[string]struct {
		ops  []op
		log  string
		good bool
	}{
		"committed":                 {[]op{{name: "commit", told: "committed", call: 1, back: 2}, {name: "outcome", told: "committed", call: 3, back: 4}}, "committed", true},
		"aborted by its deadline":   {[]op{{name: "outcome", told: "aborted", call: 1, back: 2}, {name: "commit", told: "aborted", call: 3, back: 4}}, "aborted", true},
		"pending behind committed":  {[]op{{name: "commit", told: "committed", call: 1, back: 2}, {name: "outcome", told: "pending", call: 3, back: 4}}, "committed", true},
		"lost, then committed":      {[]op{{name: "commit", told: "error", call: 1, back: 2}, {name: "outcome", told: "committed", call: 5, back: 6}}, "committed", true},
		"lost, then aborted":        {[]op{{name: "commit", call: 1}, {name: "rollback", told: "aborted", call: 5, back: 6}}, "aborted", true},
		"rollback races commit":     {[]op{{name: "commit", told: "committed", call: 1, back: 9}, {name: "rollback", told: "committed", call: 2, back: 8}}, "committed", true},
		"two answers":               {[]op{{name: "commit", told: "committed", call: 1, back: 2}, {name: "outcome", told: "aborted", call: 3, back: 4}}, "committed", false},
		"two answers, overlapping":  {[]op{{name: "commit", told: "committed", call: 1, back: 9}, {name: "rollback", told: "aborted", call: 2, back: 8}}, "committed", false},
		"committed by nobody":       {[]op{{name: "outcome", told: "committed", call: 1, back: 2}}, "committed", false},
		"committed before the ask":  {[]op{{name: "outcome", told: "committed", call: 1, back: 2}, {name: "commit", told: "committed", call: 3, back: 4}}, "committed", false},
		"the log says otherwise":    {[]op{{name: "commit", told: "committed", call: 1, back: 2}}, "aborted", false},
		"the log commits a refusal": {[]op{{name: "commit", told: "aborted", call: 1, back: 2}}, "committed", false},
		"lost, and both later":      {[]op{{name: "commit", told: "error", call: 1, back: 2}, {name: "outcome", told: "aborted", call: 3, back: 4}, {name: "outcome", told: "committed", call: 5, back: 6}}, "committed", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bad, checked, err := checkRegisters(tc.ops, func(string) string { return tc.log })
			if err != nil || (len(bad) == 0) != tc.good || (checked == 1) != tc.good {
				t.Errorf("good=%v, got %v, %d checked, %v", tc.good, bad, checked, err)
			}
		})
	}
}
