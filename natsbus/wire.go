package natsbus

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// Subjects. Requests go to svcPrefix plus the number of a partition, decisions
// come on evtPrefix plus the token of a resource, the log is the subject of the
// stream.
const (
	svcPrefix  = "gtx.svc."
	evtPrefix  = "gtx.evt."
	rmQueue    = "rm"
	streamName = "GTX_LOG"
	logSubject = "gtx.log"
)

// Messages between clients and coordinators are batches. All numbers are
// unsigned varints in their shortest form where no size is given, the others are
// big endian.
//
//	offset  size  field    meaning
//	     0     1  version  1
//	     1     1  kind     see below; do not reorder
//	     2     -  entries  until the end
//
//	kind         entry
//	1 requests   id, op (1 byte), length, body
//	2 replies    id, code (1 byte), length, body
//	3 pushes     status (1 byte), xid, n, n branches
//	4 refusal    code (1 byte), text: none of the batch was read; not an entry
//
// An id is the caller's; who sends 0 wants no reply. An entry that cannot be
// read is refused alone. Bodies:
//
//	op           body
//	1 begin      timeout in ms, xid of the first try, key (8)
//	2 register   xid, ref
//	3 commit     xid, key (8), n, n confirmed refs, n, n dead refs
//	4 rollback   xid, key (8)
//	5 outcome    xid
//	6 await      xid of the holder, xid of the waiter, nonce (8)
//	7 ack        resource, n, n xids
//	8 hello      resource
//	9 scan       resource, worker (8), time in ms
//	10 stats     nothing
//
//	code         body
//	0 ok         status (1 byte), then nothing, an xid (of begin), or JSON (of stats)
//	5 limit      limit, text: what is limited
//	other        text, see codes
//
//	xid          log (8), partition, epoch, seq
//	ref          resource, branch
//	resource     length, bytes
//
// A message of another version is answered with three bytes that stay the same
// in every version: 0, the lowest and the highest version that is spoken.
const (
	wireVersion = 1

	kindRequests byte = 1
	kindReplies  byte = 2
	kindPushes   byte = 3
	kindRefusal  byte = 4

	// maxMessage bounds a message, in bytes; 4096 branches fit. It stays below the
	// default max_payload of a NATS server.
	maxMessage = 900 << 10
	// softMessage is the size behind which a batch takes no more entries.
	softMessage = 64 << 10
	// maxText bounds a text.
	maxText = 1 << 10
)

// op is what a request wants. On the wire: do not reorder.
type op byte

const (
	opBegin    op = 1
	opRegister op = 2
	opCommit   op = 3
	opRollback op = 4
	opOutcome  op = 5
	opAwait    op = 6
	opAck      op = 7
	opHello    op = 8
	opScan     op = 9
	opStats    op = 10
)

func (o op) String() string {
	names := [...]string{"", "begin", "register", "commit", "rollback", "outcome", "await", "acknowledge", "hello", "scan", "stats"}
	if int(o) < len(names) && o > 0 {
		return names[o]
	}
	return "operation " + strconv.Itoa(int(o))
}

// request is one operation; each uses the fields it needs.
type request struct {
	Op        op
	XID       gtx.XID
	Timeout   time.Duration // of Begin and Scan, in whole milliseconds
	First     gtx.XID       // of Begin
	Key       uint64        // of Begin, Commit, Rollback
	Ref       gtx.BranchRef
	Confirmed []gtx.BranchRef
	Dead      []gtx.BranchRef
	Waiter    gtx.XID // of Await, XID is the holder
	Nonce     uint64  // of Await; the worker of Scan
	Resource  gtx.ResourceID
	XIDs      []gtx.XID // of Ack
}

// errWire is returned for bytes that are not of this format.
var errWire = errors.New("message is malformed")

// append writes the body of r.
func (r *request) append(b []byte) []byte {
	switch r.Op {
	case opBegin:
		b = binary.AppendUvarint(b, uint64(r.Timeout/time.Millisecond))
		b = appendXID(b, r.First)
		b = binary.BigEndian.AppendUint64(b, r.Key)
	case opRegister:
		b = appendRef(appendXID(b, r.XID), r.Ref)
	case opCommit:
		b = binary.BigEndian.AppendUint64(appendXID(b, r.XID), r.Key)
		b = appendRefs(appendRefs(b, r.Confirmed), r.Dead)
	case opRollback:
		b = binary.BigEndian.AppendUint64(appendXID(b, r.XID), r.Key)
	case opOutcome:
		b = appendXID(b, r.XID)
	case opAwait:
		b = appendXID(appendXID(b, r.XID), r.Waiter)
		b = binary.BigEndian.AppendUint64(b, r.Nonce)
	case opAck:
		b = appendResource(b, r.Resource)
		b = binary.AppendUvarint(b, uint64(len(r.XIDs)))
		for _, x := range r.XIDs {
			b = appendXID(b, x)
		}
	case opHello:
		b = appendResource(b, r.Resource)
	case opScan:
		b = appendResource(b, r.Resource)
		b = binary.BigEndian.AppendUint64(b, r.Nonce)
		b = binary.AppendUvarint(b, uint64(r.Timeout/time.Millisecond))
	case opStats:
	}
	return b
}

// decodeRequest reads what append wrote, and nothing else. It keeps no part of
// body.
func decodeRequest(o op, body []byte, names *names) (request, error) {
	q, r := request{Op: o}, reader{b: body, names: names}
	switch o {
	case opBegin:
		q.Timeout = r.millis()
		q.First = r.xid()
		q.Key = r.uint64()
	case opRegister:
		q.XID = r.xid()
		q.Ref = r.ref()
	case opCommit:
		q.XID = r.xid()
		q.Key = r.uint64()
		q.Confirmed = r.refs()
		q.Dead = r.refs()
	case opRollback:
		q.XID = r.xid()
		q.Key = r.uint64()
	case opOutcome:
		q.XID = r.xid()
	case opAwait:
		q.XID = r.xid()
		q.Waiter = r.xid()
		q.Nonce = r.uint64()
	case opAck:
		q.Resource = r.resource()
		if n := r.count(minXID); n > 0 {
			q.XIDs = make([]gtx.XID, n)
			for i := range q.XIDs {
				q.XIDs[i] = r.xid()
			}
		}
	case opHello:
		q.Resource = r.resource()
	case opScan:
		q.Resource = r.resource()
		q.Nonce = r.uint64()
		q.Timeout = r.millis()
	case opStats:
	default:
		return request{}, fmt.Errorf("%w: unknown %s", errWire, o)
	}
	if r.bad || len(r.b) != 0 {
		return request{}, fmt.Errorf("%w: body of %s", errWire, o)
	}
	return q, nil
}

// event gives q to the machine.
func (q *request) event(call any) coordinator.Event {
	switch q.Op {
	case opBegin:
		return coordinator.Begin{Call: call, Timeout: q.Timeout, First: q.First, Key: q.Key}
	case opRegister:
		return coordinator.Register{Call: call, XID: q.XID, Ref: q.Ref}
	case opCommit:
		return coordinator.Commit{Call: call, XID: q.XID, Key: q.Key, Confirmed: q.Confirmed, Dead: q.Dead}
	case opRollback:
		return coordinator.Rollback{Call: call, XID: q.XID, Key: q.Key}
	case opOutcome:
		return coordinator.Outcome{Call: call, XID: q.XID}
	case opAwait:
		return coordinator.Await{Call: call, Waiter: q.Waiter, Holder: q.XID, Nonce: q.Nonce}
	case opAck:
		return coordinator.Ack{Call: call, Resource: q.Resource, XIDs: q.XIDs}
	case opHello:
		return coordinator.Hello{Call: call, Resource: q.Resource}
	case opScan:
		return coordinator.Scan{Call: call, Resource: q.Resource, Worker: q.Nonce, For: q.Timeout}
	case opStats:
		return statsEvent{Call: call}
	}
	panic("natsbus: event of an unchecked " + q.Op.String())
}

// appendPush writes one entry of kindPushes.
func appendPush(b []byte, p *gtx.Resolution) []byte {
	b = appendXID(append(b, byte(p.Status)), p.XID)
	b = binary.AppendUvarint(b, uint64(len(p.Branches)))
	for _, id := range p.Branches {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

// push reads what appendPush wrote.
func (r *reader) push() gtx.Resolution {
	p := gtx.Resolution{Status: gtx.Status(r.byte()), XID: r.xid()}
	if n := r.count(1); n > 0 {
		p.Branches = make([]gtx.BranchID, n)
		for i := range p.Branches {
			p.Branches[i] = gtx.BranchID(r.uvarint())
		}
	}
	return p
}

// header tells the kind of a message of this version.
func header(b []byte) (kind byte, body []byte, err error) {
	switch {
	case len(b) < 2 || len(b) > maxMessage:
		return 0, nil, fmt.Errorf("%w: %d bytes", errWire, len(b))
	case b[0] != wireVersion:
		return 0, nil, fmt.Errorf("%w: version %d", errWire, b[0])
	}
	return b[1], b[2:], nil
}

const minXID = 8 + 3 // bytes of the shortest xid

func appendXID(b []byte, x gtx.XID) []byte {
	b = binary.BigEndian.AppendUint64(b, x.Log)
	b = binary.AppendUvarint(b, uint64(x.Partition))
	b = binary.AppendUvarint(b, x.Epoch)
	return binary.AppendUvarint(b, x.Seq)
}

func appendResource(b []byte, id gtx.ResourceID) []byte {
	return append(binary.AppendUvarint(b, uint64(len(id))), id...)
}

func appendRef(b []byte, ref gtx.BranchRef) []byte {
	return binary.AppendUvarint(appendResource(b, ref.Resource), uint64(ref.Branch))
}

func appendRefs(b []byte, refs []gtx.BranchRef) []byte {
	b = binary.AppendUvarint(b, uint64(len(refs)))
	for _, ref := range refs {
		b = appendRef(b, ref)
	}
	return b
}

// reader consumes b; bad is set by the first thing that does not fit.
type reader struct {
	b     []byte
	bad   bool
	names *names
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// uvarint reads a number in its shortest form.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the number of things that follow, each of at least size bytes: a
// message cannot make its reader allocate more than a small multiple of itself.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// bytes reads a length and as many bytes, which stay part of the message.
func (r *reader) bytes(limit int) []byte {
	n := r.uvarint()
	if n > uint64(min(limit, len(r.b))) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) millis() time.Duration {
	ms := r.uvarint()
	if ms > uint64(365*24*time.Hour/time.Millisecond) {
		r.fail()
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

func (r *reader) xid() gtx.XID {
	x := gtx.XID{Log: r.uint64()}
	part := r.uvarint()
	if part > 1<<16-1 {
		r.fail()
	}
	x.Partition, x.Epoch, x.Seq = uint16(part), r.uvarint(), r.uvarint()
	return x
}

func (r *reader) resource() gtx.ResourceID {
	return r.names.of(r.bytes(coordinator.MaxResourceLen))
}

func (r *reader) ref() gtx.BranchRef {
	return gtx.BranchRef{Resource: r.resource(), Branch: gtx.BranchID(r.uvarint())}
}

func (r *reader) refs() []gtx.BranchRef {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	refs := make([]gtx.BranchRef, n)
	for i := range refs {
		refs[i] = r.ref()
	}
	return refs
}

// names gives equal resources one string: there are few of them, and every
// branch that a coordinator holds names one. It forgets all when too many came.
// The zero value and nil are ready; not safe for concurrent use.
type names struct{ known map[string]gtx.ResourceID }

func (n *names) of(b []byte) gtx.ResourceID {
	if n == nil || len(b) == 0 {
		return gtx.ResourceID(b)
	}
	if id, ok := n.known[string(b)]; ok {
		return id
	}
	if n.known == nil || len(n.known) >= 4096 {
		n.known = map[string]gtx.ResourceID{}
	}
	id := gtx.ResourceID(b)
	n.known[string(id)] = id
	return id
}

// requestSubject is where the leader of a partition hears requests.
func requestSubject(partition uint16) string {
	return svcPrefix + strconv.Itoa(int(partition))
}

// subjectOf gives the event subject of r. An ID that is a subject token already
// stays readable; "=" marks an encoded one, so no two IDs share a subject.
func subjectOf(r gtx.ResourceID) (string, error) {
	if len(r) == 0 || len(r) > coordinator.MaxResourceLen {
		return "", fmt.Errorf("%w: resource id of %d bytes", ErrRefused, len(r))
	}
	plain := strings.IndexFunc(string(r), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) < 0
	if plain {
		return evtPrefix + string(r), nil
	}
	return evtPrefix + "=" + base64.RawURLEncoding.EncodeToString([]byte(r)), nil
}

// mustJSON encodes what is not worth a format of its own; it cannot fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("natsbus: encode %T: %v", v, err))
	}
	return b
}
