package main

import (
	"strings"
	"testing"

	"github.com/globaltx/globaltx/examples/orm/internal/demo"
)

func TestTransfer(t *testing.T) {
	var out strings.Builder
	if err := demo.Run(t.Context(), t.TempDir(), &out, open); err != nil {
		t.Fatal(err)
	}
	const want = `at the start: anna 100, ben 100
after a transfer of 30: anna 70, ben 130
transfer of 500: the account would be overdrawn
after the undo: anna 70, ben 130
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}
