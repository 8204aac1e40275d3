package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOrdersAreDoneOrTakenBack(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), t.TempDir(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `the order of anna is shipped
the order of ben is refused because of billing: the card is declined
the order of anna is refused because of stock: it is sold out
5 novels are left, and anna has a credit of 20
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}
