package main

import (
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/testserver"
)

func TestMain(m *testing.M) { testserver.Main(m) }

func TestModes(t *testing.T) {
	for name, mysql := range map[string]func(testing.TB) string{"mysql": testserver.MySQL, "mariadb": testserver.MariaDB} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := run(t.Context(), t.TempDir(), &out, testserver.Postgres15(t), mysql(t)); err != nil {
				t.Fatal(err)
			}
			const want = `AT: before the decision others see 90, after it 90 and 110
XA: before the decision others see 90, after it 80 and 120
3PC: before the decision others see 80, after it 70 and 130
`
			if got := out.String(); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}
