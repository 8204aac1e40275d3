package driver

import (
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

type pointer struct{ gtx.Coordinator }

type uncomparable struct {
	gtx.Coordinator
	f func()
}

// holding can be compared as far as its type says.
type holding struct {
	gtx.Coordinator
	v any
}

func TestSameCoordinator(t *testing.T) {
	a, b := &pointer{}, &pointer{}
	u := uncomparable{f: func() {}}
	for _, c := range []struct {
		name string
		a, b gtx.Coordinator
		want bool
	}{
		{"one", a, a, true},
		{"two", a, b, false},
		{"none yet", nil, a, false},
		{"none", nil, nil, true},
		{"values that cannot be compared", u, u, true},
		{"values that hold what cannot be compared", holding{v: []int{1}}, holding{v: []int{1}}, true},
		{"values of which one holds such", holding{v: []int{1}}, holding{v: 1}, false},
		{"of two types", u, a, false},
	} {
		if got := same(c.a, c.b); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
