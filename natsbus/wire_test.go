package natsbus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

var (
	wireXID  = gtx.XID{Log: 0x0102030405060708, Partition: 300, Epoch: 7, Seq: 128}
	wireRefs = []gtx.BranchRef{{Resource: "a", Branch: 1}, {Resource: "b/\x00", Branch: math.MaxInt64}}
)

// wireRequests has every operation; the bytes are on the wire between programs
// of different versions and must not change.
var wireRequests = []struct {
	request
	hex string
}{
	{request{Op: opBegin, Timeout: 1500 * time.Millisecond, First: wireXID, Key: 5}, "dc0b" + "0102030405060708ac02078001" + "0000000000000005" + "00" + "00"},
	{request{Op: opBegin}, "00" + "0000000000000000000000" + "0000000000000000" + "00" + "00"},
	{
		request{Op: opBegin, Mode: gtx.ThreePhase, Resources: []gtx.ResourceID{"a", "b"}},
		"00" + "0000000000000000000000" + "0000000000000000" + "02" + "02" + "0161" + "0162",
	},
	{request{Op: opRegister, XID: wireXID, Ref: wireRefs[0]}, "0102030405060708ac02078001" + "016101"},
	{
		request{Op: opCommit, XID: wireXID, Key: math.MaxUint64, Confirmed: wireRefs[:1], Dead: wireRefs[1:]},
		"0102030405060708ac02078001" + "ffffffffffffffff" + "01016101" + "0103622f00ffffffffffffffff7f",
	},
	{request{Op: opRollback, XID: wireXID, Key: 1}, "0102030405060708ac02078001" + "0000000000000001"},
	{request{Op: opOutcome, XID: wireXID}, "0102030405060708ac02078001"},
	{
		request{Op: opAwait, XID: wireXID, Waiter: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Nonce: 2},
		"0102030405060708ac02078001" + "0000000000000001000101" + "0000000000000002",
	},
	{request{Op: opAck, Resource: "r", XIDs: []gtx.XID{wireXID}}, "0172" + "01" + "0102030405060708ac02078001"},
	{request{Op: opHello, Resource: "r"}, "0172"},
	{request{Op: opScan, Resource: "r", Nonce: 3, Timeout: time.Second}, "0172" + "0000000000000003" + "e807"},
	{request{Op: opStats}, ""},
	{request{Op: opReady, Resource: "r", XIDs: []gtx.XID{wireXID}}, "0172" + "01" + "0102030405060708ac02078001"},
	{request{Op: opClaim, XID: wireXID, Resources: []gtx.ResourceID{"r"}}, "0102030405060708ac02078001" + "01" + "0172"},
}

func TestRequestBytes(t *testing.T) {
	for _, tt := range wireRequests {
		b := tt.append(nil)
		if got := hex.EncodeToString(b); got != tt.hex {
			t.Errorf("%s: got %s, want %s", tt.Op, got, tt.hex)
		}
		got, err := decodeRequest(tt.Op, b, &names{})
		if err != nil {
			t.Errorf("%s: %v", tt.Op, err)
		}
		if diff := cmp.Diff(tt.request, got); diff != "" {
			t.Errorf("%s:\n%s", tt.Op, diff)
		}
		for n := range b {
			if got, err := decodeRequest(tt.Op, b[:n], nil); !errors.Is(err, errWire) {
				t.Errorf("%s cut to %d bytes: %+v, %v", tt.Op, n, got, err)
			}
		}
		if got, err := decodeRequest(tt.Op, append(b, 0), nil); !errors.Is(err, errWire) {
			t.Errorf("%s with a byte behind it: %+v, %v", tt.Op, got, err)
		}
	}
}

func TestMalformedRequests(t *testing.T) {
	xid := string(appendXID(nil, wireXID))
	for what, tt := range map[string]struct {
		op   op
		body string
	}{
		"operation 0":                  {0, ""},
		"unknown operation":            {lastOp + 1, ""},
		"partition beyond 16 bit":      {opOutcome, strings.Repeat("\x01", 8) + "\x80\x80\x04\x01\x01"},
		"number in a longer form":      {opOutcome, strings.Repeat("\x01", 8) + "\x80\x00\x01\x01"},
		"number beyond 64 bit":         {opOutcome, strings.Repeat("\x01", 8) + "\x00\x01" + strings.Repeat("\xff", 9) + "\x02"},
		"time beyond a year":           {opBegin, strings.Repeat("\xff", 8) + "\x7f" + xid + strings.Repeat("\x01", 8)},
		"resource too long":            {opHello, "\x81\x01" + strings.Repeat("r", coordinator.MaxResourceLen+1)},
		"more branches than bytes":     {opCommit, xid + strings.Repeat("\x01", 8) + "\xff\xff\xff\xff\x0f"},
		"more xids than bytes":         {opAck, "\x01r" + "\x02" + xid},
		"resource longer than message": {opHello, "\x05r"},
		"more names than bytes":        {opClaim, xid + "\x02\x00"},
		"no mode":                      {opBegin, "\x00" + xid + strings.Repeat("\x01", 8)},
	} {
		if got, err := decodeRequest(tt.op, []byte(tt.body), nil); !errors.Is(err, errWire) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		op   op
		in   coordinator.Reply
		is   []error
		text string
	}{
		{op: opBegin, in: coordinator.Reply{XID: wireXID}},
		{op: opRegister},
		{op: opCommit, in: coordinator.Reply{Status: gtx.Committed}},
		{op: opOutcome, in: coordinator.Reply{Status: gtx.Expired}},
		{op: opRegister, in: coordinator.Reply{Err: fmt.Errorf("x: %w", gtx.ErrAborted)}, is: []error{gtx.ErrAborted}},
		{op: opRegister, in: coordinator.Reply{Err: gtx.ErrEnded}, is: []error{gtx.ErrEnded}},
		{op: opRegister, in: coordinator.Reply{Err: coordinator.ErrNotLeader}, is: []error{coordinator.ErrNotLeader, gtx.ErrUnavailable}},
		{op: opRegister, in: coordinator.Reply{Err: coordinator.ErrOverload}, is: []error{coordinator.ErrOverload, gtx.ErrUnavailable}},
		{op: opRegister, in: coordinator.Reply{Err: coordinator.ErrForeignLog}, is: []error{coordinator.ErrForeignLog, ErrRefused}},
		{op: opCommit, in: coordinator.Reply{Err: coordinator.ErrNotOwner}, is: []error{coordinator.ErrNotOwner, ErrRefused}},
		{op: opRegister, in: coordinator.Reply{Err: coordinator.ErrInvalid}, is: []error{coordinator.ErrInvalid, ErrRefused}},
		{op: opScan, in: coordinator.Reply{Err: coordinator.ErrBusy}, is: []error{coordinator.ErrBusy}},
		{op: opBegin, in: coordinator.Reply{Err: fmt.Errorf("stalled: %w", gtx.ErrUnavailable)}, is: []error{gtx.ErrUnavailable}},
		{op: opBegin, in: coordinator.Reply{Err: errors.New("bug")}, is: []error{ErrRefused}},
		{op: opBegin, in: coordinator.Reply{Err: errors.New(strings.Repeat("x", 2*maxText))}, text: strings.Repeat("x", maxText)},
	} {
		got, err := readBack(tt.op, appendReply(nil, &tt.in))
		if err != nil || got.XID != tt.in.XID || got.Status != tt.in.Status || (got.Err == nil) != (tt.in.Err == nil) {
			t.Errorf("%s: got %+v, %v, want %+v", tt.op, got, err, tt.in)
			continue
		}
		if tt.text == "" && tt.in.Err != nil {
			tt.text = tt.in.Err.Error()
		}
		if got.Err != nil && got.Err.Error() != tt.text {
			t.Errorf("got error %q, want %q", got.Err, tt.text)
		}
		for _, is := range tt.is {
			if !errors.Is(got.Err, is) {
				t.Errorf("%v does not match %v", got.Err, is)
			}
		}
	}

	limit := &coordinator.LimitError{What: "branches", Limit: 1024}
	got, err := readBack(opRegister, appendReply(nil, &coordinator.Reply{Err: fmt.Errorf("register: %w", limit)}))
	var asked *coordinator.LimitError
	if err != nil || !errors.As(got.Err, &asked) || *asked != *limit {
		t.Errorf("limit: %+v, %v", got, err)
	}
	stats := coordinator.Stats{Epoch: 3, Live: 4, LogSeq: 5}
	if got, err = readBack(opStats, appendStats(nil, stats)); err != nil || got.Stats == nil || *got.Stats != stats {
		t.Errorf("stats: %+v, %v", got, err)
	}
}

// readBack decodes the part of an entry behind its id.
func readBack(o op, b []byte) (answer, error) {
	r := reader{b: b}
	c, body := code(r.byte()), r.bytes(maxMessage)
	if r.bad || len(r.b) != 0 {
		return answer{}, errWire
	}
	return decodeAnswer(o, c, body)
}

func TestPushBytes(t *testing.T) {
	want := gtx.Resolution{XID: wireXID, Status: gtx.Committed, Branches: []gtx.BranchID{1, math.MaxInt64}}
	b := appendPush(nil, &want)
	if got := hex.EncodeToString(b); got != "01"+"0102030405060708ac02078001"+"02"+"01"+"ffffffffffffffff7f" {
		t.Errorf("bytes %s", got)
	}
	r := reader{b: b}
	if got := r.push(); r.bad || len(r.b) != 0 || !cmp.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestPreCommitBytes(t *testing.T) {
	want := gtx.Resolution{XID: wireXID, Status: gtx.PreCommitted, Participants: []gtx.ResourceID{"a", "b"}}
	b := appendPush(nil, &want)
	if got := hex.EncodeToString(b); got != "04"+"0102030405060708ac02078001"+"00"+"02"+"0161"+"0162" {
		t.Errorf("bytes %s", got)
	}
	r := reader{b: b}
	if got := r.push(); r.bad || len(r.b) != 0 || !cmp.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestVoteBytes(t *testing.T) {
	for _, tt := range []struct {
		in          error
		hex         string
		unavailable bool
	}{
		{nil, "010600", false},
		{errors.New("no"), "010607" + "6e6f", false},
		{fmt.Errorf("x: %w", gtx.ErrUnavailable), "01060b" + hex.EncodeToString([]byte("x: "+gtx.ErrUnavailable.Error())), true},
	} {
		b := appendVote(tt.in)
		if got := hex.EncodeToString(b); got != tt.hex {
			t.Errorf("%v: bytes %s", tt.in, got)
		}
		got := readVote(b)
		if (got == nil) != (tt.in == nil) || got != nil && got.Error() != tt.in.Error() || errors.Is(got, gtx.ErrUnavailable) != tt.unavailable {
			t.Errorf("%v became %v", tt.in, got)
		}
	}
	for _, bad := range [][]byte{nil, {1}, {1, kindVote}, {1, kindVote, 0, 0}, {2, kindVote, 0}, {1, kindReplies, 0}, {0, 1, 1}} {
		if err := readVote(bad); !errors.Is(err, errWire) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestInboxOf(t *testing.T) {
	for reply, want := range map[string]string{
		"": "", "_INBOX.a.1": "_INBOX.a.r", "_INBOX.orders.a.17": "_INBOX.orders.a.r", "_INBOX.x": "_INBOX.r", "_R_.a.b": "_R_.a.b",
	} {
		if got, ok := inboxOf(reply); !ok || got != want {
			t.Errorf("%q: %q, %v", reply, got, ok)
		}
	}
	for _, reply := range []string{"gtx.log", "gtx.log.0", "$JS.API.STREAM.PURGE.GTX_LOG", "gtx.evt.r", "gtx.svc.0", "gtx.ctl.leader", "_INBOX", "$SYS.REQ"} {
		if got, ok := inboxOf(reply); ok {
			t.Errorf("%q: an inbox %q", reply, got)
		}
	}
}

func TestSubjectsDiffer(t *testing.T) {
	seen := map[string]gtx.ResourceID{}
	for _, r := range []gtx.ResourceID{"a", "A", "=YQ", "YQ", "a.b", "a b", "*", ">", "é", "\x00"} {
		s, err := subjectOf(evtPrefix, r)
		if err != nil || strings.ContainsAny(s[len(evtPrefix):], ".*> \x00") {
			t.Errorf("%q: %q, %v", r, s, err)
		}
		if other, ok := seen[s]; ok {
			t.Errorf("%q and %q share %q", r, other, s)
		}
		seen[s] = r
	}
}

func TestNamesAreShared(t *testing.T) {
	var n names
	a := n.of([]byte("r"))
	for i := range 10_000 {
		n.of(fmt.Appendf(nil, "r%d", i))
	}
	if len(n.known) > 4096 {
		t.Errorf("%d names are kept", len(n.known))
	}
	if b := n.of([]byte("r")); a != b {
		t.Errorf("%q became %q", a, b)
	}
}

// FuzzRequest proves that what is read is exactly what would be written.
func FuzzRequest(f *testing.F) {
	for _, r := range wireRequests {
		f.Add(byte(r.Op), r.append(nil))
	}
	f.Fuzz(func(t *testing.T, o byte, body []byte) {
		q, err := decodeRequest(op(o), body, &names{})
		if err != nil {
			return
		}
		if got := q.append(nil); !bytes.Equal(got, body) {
			t.Errorf("%s: read %x, wrote %x", q.Op, body, got)
		}
		q.event(nil)
	})
}

// FuzzBatch proves that no message makes the readers panic or read other than
// would be written.
func FuzzBatch(f *testing.F) {
	batch := []byte{wireVersion, kindRequests}
	for i, r := range wireRequests {
		body := r.append(nil)
		batch = append(appendHead(append(batch, byte(i)), r.Op, len(body)), body...)
	}
	f.Add(batch)
	f.Add(appendReply([]byte{wireVersion, kindReplies, 1}, &coordinator.Reply{Status: gtx.Committed}))
	f.Add(appendPush([]byte{wireVersion, kindPushes}, &gtx.Resolution{XID: wireXID, Status: gtx.Aborted, Branches: []gtx.BranchID{1}}))
	f.Add(appendPush([]byte{wireVersion, kindPushes}, &gtx.Resolution{XID: wireXID, Status: gtx.PreCommitted, Participants: []gtx.ResourceID{"a"}}))
	f.Add(appendVote(errors.New("no")))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, body, err := header(data)
		if err != nil {
			return
		}
		switch kind {
		case kindRequests:
			d := door{in: &intake{}}
			if d.read(data) != nil {
				return
			}
			again := data[:2:2]
			for _, e := range d.entries {
				again = append(binary.AppendUvarint(again, e.id), byte(e.op))
				again = append(binary.AppendUvarint(again, uint64(len(e.body))), e.body...)
			}
			if !bytes.Equal(again, data) {
				t.Errorf("read %x, wrote %x", data, again)
			}
		case kindReplies:
			r := reader{b: body}
			for len(r.b) > 0 {
				r.uvarint()
				c, body := code(r.byte()), r.bytes(maxMessage)
				for o := opBegin; o <= lastOp; o++ {
					a, err := decodeAnswer(o, c, body)
					if err == nil && (a.Err == nil) != (c == codeOK) {
						t.Errorf("code %d gave %v", c, a.Err)
					}
				}
			}
		case kindPushes:
			r, again := reader{b: body}, []byte(nil)
			for len(r.b) > 0 {
				p := r.push()
				again = appendPush(again, &p)
			}
			if !r.bad && !bytes.Equal(again, body) {
				t.Errorf("read %x, wrote %x", body, again)
			}
		case kindVote:
			if err := readVote(data); err == nil && len(body) != 1 {
				t.Errorf("a yes of %d bytes", len(body))
			}
		}
	})
}
