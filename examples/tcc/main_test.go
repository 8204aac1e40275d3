package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTCC(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), t.TempDir(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `at the start: 2 free, 0 held, 0 sold
  while it is open: 1 free, 1 held, 0 sold
after a booking for 30: 1 free, 0 held, 1 sold
  while it is open: 0 free, 1 held, 1 sold
after a booking for 500 has failed: 1 free, 0 held, 1 sold
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}
