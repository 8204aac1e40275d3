package natsbus

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// Messages about guards, one request in each, with the header of all messages (wire.go):
//
//	kind      body
//	7 guard   op (1 byte), nonce (8), time in ms, resource, xid, branch, number,
//	          then the body of the guard until the end
//	8 guards  code (1 byte), then of ok: number, more (1 byte), n, n guards;
//	          of the others: text until the end
//
//	op        number                          answer's number
//	1 create  0                               revision
//	2 update  revision                        revision
//	3 delete  revision                        0
//	4 list    behind what the page begins     number of the next page, if more is 1
//
//	guard     resource, xid, branch, revision, length, body
//
// A list without a resource is of all; it has no xid.
//
// The nonce names a call and is the same in every try of it. Do not reorder.
const (
	kindGuard  byte = 7
	kindGuards byte = 8
)

type guardOp byte

const (
	guardCreate guardOp = 1
	guardUpdate guardOp = 2
	guardDelete guardOp = 3
	guardList   guardOp = 4
)

func (o guardOp) String() string {
	names := [...]string{"", "create guard", "update guard", "delete guard", "list guards"}
	if int(o) < len(names) && o > 0 {
		return names[o]
	}
	return fmt.Sprintf("guard operation %d", byte(o))
}

// guardCode says what came of a try. On the wire: do not reorder.
type guardCode byte

const (
	guardOK      guardCode = 0
	guardChanged guardCode = 1 // not done, there is a newer one
	guardGone    guardCode = 2 // not done, there is none
	guardAgain   guardCode = 3 // not done, ask again
	guardRefused guardCode = 4 // not done, asking again does not help
	guardUnclear guardCode = 5 // done or not, or done later
)

type guardRequest struct {
	Op     guardOp
	Nonce  uint64
	Time   time.Duration // how long the caller waits, in whole milliseconds
	Guard  gtx.Guard
	Number uint64
}

type guardAnswer struct {
	Code   guardCode
	Text   string // of all codes but guardOK
	Number uint64
	More   bool
	Guards []gtx.Guard
}

// named tells that the request says which guards it is about.
func (q *guardRequest) named() bool {
	g := &q.Guard
	whole := g.XID.Epoch > 0 && g.XID.Seq > 0 // it can be read again
	switch {
	case q.Op != guardList:
		return g.Resource != "" && whole && g.Branch > 0
	case g.XID.IsZero():
		return true
	}
	return g.Resource != "" && whole
}

func (q *guardRequest) encode() []byte {
	b := make([]byte, 0, 128+len(q.Guard.Resource)+len(q.Guard.Body))
	b = append(b, wireVersion, kindGuard, byte(q.Op))
	b = binary.BigEndian.AppendUint64(b, q.Nonce)
	b = binary.AppendUvarint(b, uint64(q.Time/time.Millisecond))
	b = appendXID(appendResource(b, q.Guard.Resource), q.Guard.XID)
	b = binary.AppendUvarint(b, uint64(q.Guard.Branch))
	b = binary.AppendUvarint(b, q.Number)
	return append(b, q.Guard.Body...)
}

func decodeGuardRequest(data []byte) (guardRequest, error) {
	kind, body, err := header(data)
	if err == nil && kind != kindGuard {
		err = fmt.Errorf("%w: kind %d is not about a guard", errWire, kind)
	}
	if err != nil {
		return guardRequest{}, err
	}
	r := reader{b: body}
	q := guardRequest{Op: guardOp(r.byte()), Nonce: r.uint64(), Time: r.millis()}
	q.Guard.Resource, q.Guard.XID, q.Guard.Branch = r.resource(), r.xid(), gtx.BranchID(r.uvarint())
	q.Number = r.uvarint()
	switch {
	case r.bad, q.Op < guardCreate, q.Op > guardList, len(r.b) > gtx.MaxGuard:
		return guardRequest{}, fmt.Errorf("%w: body of %s", errWire, q.Op)
	case !q.named():
		return guardRequest{}, fmt.Errorf("%w: %s without a name", errWire, q.Op)
	}
	q.Guard.Body = r.b
	return q, nil
}

func (a *guardAnswer) encode() []byte {
	b := []byte{wireVersion, kindGuards, byte(a.Code)}
	if a.Code != guardOK {
		return append(b, a.Text[:min(len(a.Text), maxText)]...)
	}
	b = binary.AppendUvarint(b, a.Number)
	more := byte(0)
	if a.More {
		more = 1
	}
	b = binary.AppendUvarint(append(b, more), uint64(len(a.Guards)))
	for i := range a.Guards {
		b = appendGuard(b, &a.Guards[i])
	}
	return b
}

func appendGuard(b []byte, g *gtx.Guard) []byte {
	b = binary.AppendUvarint(appendXID(appendResource(b, g.Resource), g.XID), uint64(g.Branch))
	b = binary.AppendUvarint(b, g.Revision)
	return append(binary.AppendUvarint(b, uint64(len(g.Body))), g.Body...)
}

// decodeGuardAnswer keeps no part of data.
func decodeGuardAnswer(data []byte) (guardAnswer, error) {
	kind, body, err := header(data)
	if err == nil && kind != kindGuards {
		err = fmt.Errorf("%w: kind %d does not answer about guards", errWire, kind)
	}
	if err != nil {
		return guardAnswer{}, err
	}
	r := reader{b: body}
	a := guardAnswer{Code: guardCode(r.byte())}
	if a.Code != guardOK {
		a.Text = string(r.b)
		if r.bad || a.Code > guardUnclear {
			a.Code = guardUnclear
		}
		return a, nil
	}
	a.Number, a.More = r.uvarint(), r.byte() == 1
	for range r.count(minXID + 4) {
		g := gtx.Guard{Resource: r.resource(), XID: r.xid(), Branch: gtx.BranchID(r.uvarint()), Revision: r.uvarint()}
		g.Body = append([]byte{}, r.bytes(gtx.MaxGuard)...)
		a.Guards = append(a.Guards, g)
	}
	if r.bad || len(r.b) != 0 {
		return guardAnswer{}, fmt.Errorf("%w: answer about guards", errWire)
	}
	return a, nil
}
