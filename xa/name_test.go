package xa

import (
	"math"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

const someDatabase = gtx.ResourceID("0b9f5d3e-8c1a-4f27-9e64-52d7a1c3b8f0")

// longest is a name of the greatest length.
var longest = Name{
	XID: gtx.XID{Log: math.MaxUint64, Partition: math.MaxUint16, Epoch: math.MaxUint64, Seq: math.MaxUint64}, Database: someDatabase, Branch: math.MaxInt64,
}

func TestName(t *testing.T) {
	n := Name{XID: gtx.XID{Log: 255, Partition: 2, Epoch: 3, Seq: 16}, Database: someDatabase, Branch: 42}
	if got, want := n.String(), "gtx:00000000000000ff-2-3-10:0b9f5d3e-8c1a-4f27-9e64-52d7a1c3b8f0-2a"; got != want {
		t.Errorf("got %s, want %s: it is stored, and must not change", got, want)
	}
	if got, want := n.Ref(), (gtx.BranchRef{Resource: someDatabase + "-xa", Branch: 42}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, n := range []Name{n, longest, {XID: gtx.XID{Epoch: 1, Seq: 1}, Database: "a", Branch: 1}} {
		if got, ok := Parse(n.String()); !ok || got != n {
			t.Errorf("parse %s: got %v, %t", n, got, ok)
		}
		if got, ok := ParseParts(n.Global(), n.Qualifier()); !ok || got != n {
			t.Errorf("parse parts of %s: got %v, %t", n, got, ok)
		}
		if err := n.Check(); err != nil {
			t.Error(err)
		}
	}
	// X/Open gives both parts 64 bytes each, PostgreSQL the whole 199.
	if len(longest.Global()) > 64 || len(longest.Qualifier()) > 64 || len(longest.String()) > 199 {
		t.Errorf("too long: %d, %d, %d", len(longest.Global()), len(longest.Qualifier()), len(longest.String()))
	}
}

func TestNameOfOthers(t *testing.T) {
	good := longest.String()
	for _, gid := range []string{
		"", "gtx:", "gtx::", "gtx", strings.TrimPrefix(good, "gtx:"), "GTX" + good[3:], " " + good, good + " ", good + "0", good + "-1",
		strings.ToUpper(good), strings.Replace(good, ":0b9f", ":0B9F", 1), strings.Replace(good, "7ffff", "07ffff", 1),
		"gtx:00000000000000ff-0-0-1:a-1", "gtx:00000000000000ff-0-1-0:a-1", "gtx:ff-0-1-1:a-1", "gtx:00000000000000ff-00-1-1:a-1",
		"gtx:00000000000000ff-0-1-1:a-0", "gtx:00000000000000ff-0-1-1:a-", "gtx:00000000000000ff-0-1-1:-1",
		"gtx:00000000000000ff-0-1-1:a-+1", "gtx:00000000000000ff-0-1-1:a-01", "gtx:00000000000000ff-0-1-1:a-A", "gtx:00000000000000ff-0-1-1:a-8000000000000000",
		"gtx:00000000000000ff-0-1-1:it's-1", "gtx:00000000000000ff-0-1-1:a:b-1", "gtx:00000000000000ff-0-1-1:\x00-1",
		"gtx:00000000000000ff-0-1-1:" + strings.Repeat("a", 37) + "-1", "4_Z2lk_YnF1YWw=",
	} {
		if n, ok := Parse(gid); ok {
			t.Errorf("%q: got %v", gid, n)
		}
	}
}

func TestNameCheck(t *testing.T) {
	for _, n := range []Name{
		{},
		{Database: "a", Branch: 1},
		{XID: longest.XID, Branch: 1},
		{XID: longest.XID, Database: "a"},
		{XID: longest.XID, Database: "a", Branch: -1},
		{XID: longest.XID, Database: "A", Branch: 1},
		{XID: longest.XID, Database: "a'", Branch: 1},
		{XID: longest.XID, Database: `a\`, Branch: 1},
		{XID: longest.XID, Database: "ä", Branch: 1},
		{XID: longest.XID, Database: gtx.ResourceID(strings.Repeat("a", 37)), Branch: 1},
	} {
		if n.Check() == nil {
			t.Errorf("%+v has passed", n)
		}
	}
}

func TestResourceOf(t *testing.T) {
	if got, ok := Database(ResourceOf(someDatabase)); got != someDatabase || !ok {
		t.Errorf("got %s, %t", got, ok)
	}
	for _, other := range []gtx.ResourceID{"", "-xa", someDatabase, someDatabase + "-xa ", someDatabase + "-xb"} {
		if got, ok := Database(other); ok {
			t.Errorf("%q: got %s", other, got)
		}
	}
}

// Whatever parses has one spelling only, and fits into SQL as it is.
func FuzzParse(f *testing.F) {
	f.Add(longest.String())
	f.Add("gtx:00000000000000ff-0-1-1:a-b-2a")
	f.Add("gtx:00000000000000ff-0-1-1:it's-1")
	f.Fuzz(func(t *testing.T, gid string) {
		n, ok := Parse(gid)
		if !ok {
			return
		}
		if n.String() != gid || n.Check() != nil || strings.ContainsAny(gid, "'\"\\\x00") {
			t.Errorf("%q: got %+v, %v", gid, n, n.Check())
		}
	})
}

// FuzzName goes the other way, and through the parts.
func FuzzName(f *testing.F) {
	f.Add(uint64(1), uint16(0), uint64(1), uint64(16), string(someDatabase), int64(1))
	f.Add(uint64(math.MaxUint64), uint16(math.MaxUint16), uint64(math.MaxUint64), uint64(math.MaxUint64), "a-", int64(math.MaxInt64))
	f.Add(uint64(1), uint16(1), uint64(1), uint64(1), "0", int64(-42)) // reads as branch 42 of "0-"
	f.Fuzz(func(t *testing.T, log uint64, part uint16, epoch, seq uint64, db string, branch int64) {
		n := Name{XID: gtx.XID{Log: log, Partition: part, Epoch: epoch, Seq: seq}, Database: gtx.ResourceID(db), Branch: gtx.BranchID(branch)}
		got, ok := ParseParts(n.Global(), n.Qualifier())
		if good := n.Check() == nil && epoch > 0 && seq > 0; good != (ok && got == n) {
			t.Errorf("%+v (valid: %t): got %+v, %t", n, good, got, ok)
		}
		if ok && (len(n.Global()) > 64 || len(n.Qualifier()) > 64) {
			t.Errorf("%+v: too long for X/Open", n)
		}
	})
}
