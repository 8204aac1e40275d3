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
// come on evtPrefix plus the token of a resource, and whoever serves it is asked on
// canPrefix plus that for its vote (votePrefix is for the answers). The log is the subject of the stream.
const (
	svcPrefix  = "gtx.svc."
	evtPrefix  = "gtx.evt."
	canPrefix  = "gtx.can."
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
//	3 pushes     status (1 byte), xid, n, n branches; of pre-committed n, n resources
//	4 refusal    code (1 byte), text: none of the batch was read; not an entry
//	5 question   nothing: could the resource of the subject prepare?
//	6 vote       code (1 byte), text: yes, or why not; not an entry
//
// An id is the caller's; who sends 0 wants no reply. An entry that cannot be
// read is refused alone. Bodies:
//
//	op           body
//	1 begin      timeout in ms, xid of the first try, key (8), mode (1 byte),
//	             n, n resources that are named
//	2 register   xid, ref
//	3 commit     xid, key (8), n, n confirmed refs, n, n dead refs
//	4 rollback   xid, key (8)
//	5 outcome    xid
//	6 await      xid of the holder, xid of the waiter, nonce (8)
//	7 ack        resource, n, n xids
//	8 hello      resource
//	9 scan       resource, worker (8), time in ms
//	10 stats     nothing
//	11 ready     resource, n, n xids
//	12 claim     xid, n, n resources
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
	kindQuestion byte = 5
	kindVote     byte = 6

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
	opReady    op = 11
	opClaim    op = 12

	lastOp = opClaim
)

func (o op) String() string {
	names := [...]string{"", "begin", "register", "commit", "rollback", "outcome", "await", "acknowledge", "hello", "scan", "stats", "ready", "claim"}
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
	Mode      gtx.Mode      // of Begin
	Ref       gtx.BranchRef
	Confirmed []gtx.BranchRef
	Dead      []gtx.BranchRef
	Waiter    gtx.XID // of Await, XID is the holder
	Nonce     uint64  // of Await; the worker of Scan
	Resource  gtx.ResourceID
	XIDs      []gtx.XID        // of Ack and Ready
	Resources []gtx.ResourceID // of Begin and Claim
}

// errWire is returned for bytes that are not of this format.
var errWire = errors.New("message is malformed")

// append writes the body of r.
func (r *request) append(b []byte) []byte {
	switch r.Op {
	case opBegin:
		b = binary.AppendUvarint(b, uint64(r.Timeout/time.Millisecond))
		b = appendXID(b, r.First)
		b = append(binary.BigEndian.AppendUint64(b, r.Key), byte(r.Mode))
		b = appendResources(b, r.Resources)
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
	case opAck, opReady:
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
	case opClaim:
		b = appendResources(appendXID(b, r.XID), r.Resources)
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
		q.Mode = gtx.Mode(r.byte())
		q.Resources = r.resources()
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
	case opAck, opReady:
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
	case opClaim:
		q.XID = r.xid()
		q.Resources = r.resources()
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
		return coordinator.Begin{Call: call, Timeout: q.Timeout, First: q.First, Key: q.Key, Mode: q.Mode, Resources: q.Resources}
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
	case opReady:
		return coordinator.Ready{Call: call, Resource: q.Resource, XIDs: q.XIDs}
	case opClaim:
		return coordinator.Claim{Call: call, XID: q.XID, Participants: q.Resources}
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
	if p.Status == gtx.PreCommitted {
		b = appendResources(b, p.Participants)
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
	if p.Status == gtx.PreCommitted {
		p.Participants = r.resources()
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

func appendResources(b []byte, ids []gtx.ResourceID) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = appendResource(b, id)
	}
	return b
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

// requestSubject is where the leader of a partition hears requests.
func requestSubject(partition uint16) string {
	return svcPrefix + strconv.Itoa(int(partition))
}

// subjectOf gives the subject of r below prefix. An ID that is a subject token already
// stays readable; "=" marks an encoded one, so no two IDs share a subject.
func subjectOf(prefix string, r gtx.ResourceID) (string, error) {
	if len(r) == 0 || len(r) > coordinator.MaxResourceLen {
		return "", fmt.Errorf("%w: resource id of %d bytes", ErrRefused, len(r))
	}
	plain := strings.IndexFunc(string(r), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) < 0
	if plain {
		return prefix + string(r), nil
	}
	return prefix + "=" + base64.RawURLEncoding.EncodeToString([]byte(r)), nil
}

// mustJSON encodes what is not worth a format of its own; it cannot fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("natsbus: encode %T: %v", v, err))
	}
	return b
}
