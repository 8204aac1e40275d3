package gtx

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestXIDText(t *testing.T) {
	for _, tc := range []struct {
		xid  XID
		text string
	}{
		{XID{Log: 1, Epoch: 1, Seq: 1}, "0000000000000001-0-1-1"},
		{XID{Log: 0xdeadbeef, Partition: 3, Epoch: 16, Seq: 255}, "00000000deadbeef-3-10-ff"},
		{
			XID{Log: math.MaxUint64, Partition: math.MaxUint16, Epoch: math.MaxUint64, Seq: math.MaxUint64},
			"ffffffffffffffff-ffff-ffffffffffffffff-ffffffffffffffff",
		},
	} {
		if got := tc.xid.String(); got != tc.text {
			t.Errorf("String of %#v: got %q, want %q", tc.xid, got, tc.text)
		}
		got, err := ParseXID(tc.text)
		if err != nil || got != tc.xid {
			t.Errorf("ParseXID(%q): got %#v, %v, want %#v", tc.text, got, err, tc.xid)
		}
		if len(tc.text) > MaxXIDLen {
			t.Errorf("%q is longer than MaxXIDLen = %d", tc.text, MaxXIDLen)
		}
	}
}

// TestParseXIDRefuses holds that two texts never name one transaction: the undo
// rows compare texts.
func TestParseXIDRefuses(t *testing.T) {
	for _, s := range []string{
		"",
		"-",
		"---",
		"1-0-1-1",                    // log without leading zeros
		"000000000000000A-0-1-1",     // upper case
		"000000000000000a-00-1-1",    // leading zero
		"000000000000000a-0-01-1",    // leading zero
		"000000000000000a-0-0-1",     // epochs count from 1
		"000000000000000a-0-1-0",     // sequences count from 1
		"000000000000000a-10000-1-1", // partition has 16 bits
		"000000000000000a-0-10000000000000000-1",
		"000000000000000a-0-1-1-1",
		"000000000000000a-0-1",
		"000000000000000a-0-+1-1",
		"000000000000000a-0-1_0-1",
		"000000000000000a-0-1-1 ",
		" 000000000000000a-0-1-1",
		"000000000000000a-0-1-1\x00",
		"000000000000000a-0-1-1'; DROP TABLE account; --",
		strings.Repeat("a", 1<<16),
	} {
		if x, err := ParseXID(s); err == nil {
			t.Errorf("ParseXID(%.60q): got %v, want an error", s, x)
		} else if len(err.Error()) > 500 {
			t.Errorf("ParseXID(%.60q): error repeats %d bytes of input", s, len(err.Error()))
		}
	}
}

func FuzzParseXID(f *testing.F) {
	f.Add("0000000000000001-0-1-1")
	f.Add("ffffffffffffffff-ffff-ffffffffffffffff-ffffffffffffffff")
	f.Add("000000000000000A-0-1-1")
	f.Add("----")
	f.Fuzz(func(t *testing.T, s string) {
		x, err := ParseXID(s)
		if err != nil {
			if !x.IsZero() {
				t.Fatalf("ParseXID(%q): got %v together with %v", s, x, err)
			}
			return
		}
		if got := x.String(); got != s {
			t.Fatalf("ParseXID(%q).String(): got %q", s, got)
		}
		if len(s) > MaxXIDLen || strings.Trim(s, "0123456789abcdef-") != "" {
			t.Fatalf("ParseXID accepts %q", s)
		}
	})
}

func FuzzXIDRoundTrip(f *testing.F) {
	f.Add(uint64(0), uint16(0), uint64(1), uint64(1))
	f.Add(uint64(math.MaxUint64), uint16(math.MaxUint16), uint64(math.MaxUint64), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, log uint64, partition uint16, epoch, seq uint64) {
		want := XID{Log: log, Partition: partition, Epoch: max(epoch, 1), Seq: max(seq, 1)}
		got, err := ParseXID(want.String())
		if err != nil || got != want {
			t.Fatalf("round trip of %#v: got %#v, %v", want, got, err)
		}
	})
}

func TestXIDJSON(t *testing.T) {
	type message struct {
		A, B XID
		M    map[XID]int
	}
	x := XID{Log: 7, Epoch: 1, Seq: 9}
	b, err := json.Marshal(message{A: x, M: map[XID]int{x: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"A":"0000000000000007-0-1-9","B":"","M":{"0000000000000007-0-1-9":1}}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	got := message{B: x}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.A != x || !got.B.IsZero() || got.M[x] != 1 {
		t.Errorf("got %+v", got)
	}
	if err := json.Unmarshal([]byte(`{"A":"7-0-1-9"}`), &got); err == nil {
		t.Error("a text that is not canonical was read")
	}
	if got.A != x {
		t.Errorf("an unreadable text changed the XID to %v", got.A)
	}
}

func TestStatusNumbersStay(t *testing.T) {
	want := []string{"pending", "committed", "aborted", "expired", "pre-committed", "invalid"}
	for i, w := range want {
		if got := Status(i).String(); got != w {
			t.Errorf("Status(%d): got %q, want %q", i, got, w)
		}
	}
}

func TestNewBranchIDConcurrent(t *testing.T) {
	const workers, each = 16, 2000
	all := make([][]BranchID, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			ids := make([]BranchID, each)
			for i := range ids {
				ids[i] = NewBranchID()
			}
			all[w] = ids
		})
	}
	wg.Wait()
	seen := make(map[BranchID]bool, workers*each)
	for w, ids := range all {
		if !slices.IsSorted(ids) {
			t.Errorf("worker %d: IDs do not ascend", w)
		}
		for _, id := range ids {
			if id <= 0 || seen[id] {
				t.Fatalf("worker %d: %d is not positive or was given twice", w, id)
			}
			seen[id] = true
		}
	}
}

func TestBranchIDStaysPositive(t *testing.T) {
	last := int64(0)
	for _, year := range []int{1971, 2026, 2041, 2042, 2100, 2254} {
		got := branchID(time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC), 1<<branchRandomBits-1)
		if got <= last {
			t.Errorf("year %d: got %d after %d", year, got, last)
		}
		last = got
	}
}
