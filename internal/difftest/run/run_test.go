package run_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/corpus"
	"github.com/globaltx/globaltx/internal/difftest/mutate"
	"github.com/globaltx/globaltx/internal/difftest/run"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// dsn gives a server of a name for this test.
func dsn(t testing.TB, name string) string {
	t.Helper()
	switch name {
	case run.MySQL:
		return testserver.Admin(t, testserver.NameMySQL)
	case run.MariaDB:
		return testserver.Admin(t, testserver.NameMariaDB)
	case run.Postgres15:
		return testserver.Admin(t, testserver.NamePostgres15)
	case run.Postgres18:
		return testserver.Admin(t, testserver.NamePostgres18)
	}
	return ""
}

func target(t testing.TB, name string) run.Config {
	t.Helper()
	c, err := run.Target(t.Context(), name, dsn(t, name), sqltext.Mode{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const seed = 20260101

// TestMutants compares mutants on every server. The command compares many more.
func TestMutants(t *testing.T) {
	const most = 20_000
	for _, name := range run.Names {
		t.Run(name, func(t *testing.T) {
			c := target(t, name).Mutants(seed, 0)
			c.Most, c.SampleRefused = most, 10
			report, err := run.Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			check(t, report, most/5)
		})
	}
}

func TestCorpus(t *testing.T) {
	for _, name := range run.Names {
		t.Run(name, func(t *testing.T) {
			report, err := run.Run(t.Context(), target(t, name).Corpus())
			if err != nil {
				t.Fatal(err)
			}
			check(t, report, len(corpus.Texts(target(t, name).Dialect))/2)
		})
	}
}

// check fails on any misread, and when too little was compared to tell.
func check(t *testing.T, r *run.Report, floor int) {
	t.Helper()
	t.Logf("%s", r)
	if r.Misread > 0 {
		t.Errorf("%d misreads with seed %d", r.Misread, seed)
	}
	if r.Compared() < floor {
		t.Errorf("%d statements compared, want at least %d", r.Compared(), floor)
	}
}

// TestMutantsAreOftenValid keeps the mutators to statements that a server takes:
// the others compare nothing.
func TestMutantsAreOftenValid(t *testing.T) {
	const n = 2000
	for _, name := range run.Names {
		t.Run(name, func(t *testing.T) {
			c := target(t, name)
			mu := mutate.New(c.Dialect, c.Mode, corpus.Texts(c.Dialect), seed)
			texts := make([]string, n)
			for i := range texts {
				texts[i] = mu.Next()
			}
			server, err := c.Server(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			valid, err := server.Valid(t.Context(), texts)
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			count := 0
			for _, ok := range valid {
				if ok {
					count++
				}
			}
			t.Logf("%d of %d mutants are valid", count, n)
			if count < n*4/10 {
				t.Errorf("%d of %d mutants are valid, want 40 %%", count, n)
			}
		})
	}
}

// blind is an oracle that is shown every WHERE one byte short.
type blind struct{ difftest.Oracle }

func (b blind) Compare(st *sqltext.Statement) (difftest.Verdict, string) {
	if st.Where.End > 0 {
		wrong := *st
		wrong.Where.End--
		st = &wrong
	}
	return b.Oracle.Compare(st)
}

func TestAMisreadIsReported(t *testing.T) {
	c := target(t, run.SQLite).Mutants(seed, 0)
	c.Most, c.Workers = 2000, 3
	honest := c.Oracle
	c.Oracle = func() difftest.Oracle { return blind{honest()} }
	report, err := run.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if report.Misread < 100 || !strings.Contains(report.Misreads[0].Detail, "Where") {
		t.Errorf("%d misreads, the first %+v", report.Misread, report.Misreads)
	}
	if !strings.Contains(report.String(), "\nMISREAD ") {
		t.Error("the table does not list them")
	}
}

// TestTheCountsAddUp also holds that workers share the work without loss.
func TestTheCountsAddUp(t *testing.T) {
	c := target(t, run.SQLite).Mutants(seed, 500)
	c.Workers, c.SampleRefused = 3, 1
	r, err := run.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Compared() < 500 {
		t.Errorf("%d compared, want 500", r.Compared())
	}
	if got := r.Understood + r.RefusedTexts(); got != r.Texts {
		t.Errorf("understood and refused are %d, texts %d", got, r.Texts)
	}
	if got := r.Valid + r.Invalid; got != r.Understood {
		t.Errorf("valid and invalid are %d, understood %d", got, r.Understood)
	}
	if got := r.Equal + r.Unread + r.Misread; got != r.Valid {
		t.Errorf("equal, unread and misread are %d, valid %d", got, r.Valid)
	}
	for code, n := range r.Refused {
		if n.Asked != n.Texts || n.Valid > n.Asked {
			t.Errorf("%s: %+v", code, n)
		}
	}
	var back run.Report
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.String() != r.String() {
		t.Errorf("JSON gives back\n%s\nof\n%s", &back, r)
	}
}

// broken is a server that fails.
type broken struct{ difftest.Server }

func (broken) Valid(context.Context, []string) ([]bool, error) { return nil, context.DeadlineExceeded }

func TestAServerThatFailsEndsTheRun(t *testing.T) {
	c := target(t, run.SQLite).Mutants(seed, 100)
	open := c.Server
	c.Server = func(ctx context.Context) (difftest.Server, error) {
		s, err := open(ctx)
		return broken{s}, err
	}
	if _, err := run.Run(t.Context(), c); err == nil {
		t.Error("no error")
	}
}

func BenchmarkMutants(b *testing.B) {
	for _, name := range run.Names {
		b.Run(name, func(b *testing.B) {
			c := target(b, name).Mutants(seed, 0)
			c.Most = b.N
			report, err := run.Run(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(report.Texts)/b.Elapsed().Seconds(), "texts/s")
			b.ReportMetric(float64(report.Compared())/b.Elapsed().Seconds(), "compared/s")
		})
	}
}
