package conformance

import (
	"strings"
	"testing"
)

func TestRewriteParallel(t *testing.T) {
	const src = "package a\n\nfunc help(x *T) {\n\tx.Parallel()\n\tx.f.Parallel()\n\tParallel()\n}\n"
	out, _, ok, err := rewrite("a_test.go", []byte(src))
	if err != nil || !ok {
		t.Fatalf("changed: %v, %v", ok, err)
	}
	got := string(out)
	if !strings.Contains(got, "\tgtxhook.Parallel(x)\n\tx.f.Parallel()\n\tParallel()\n") {
		t.Errorf("got %s", got)
	}
	if _, _, ok, err := rewrite("a.go", []byte(src)); ok || err != nil {
		t.Errorf("a file that is no test was changed: %v, %v", ok, err)
	}
}
