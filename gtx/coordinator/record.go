package coordinator

import (
	"encoding/binary"
	"math"

	"github.com/globaltx/globaltx/gtx"
)

// kind of a record. The numbers are on disk: do not reorder.
type kind uint8

const (
	kindEpoch    kind = 1
	kindCommit   kind = 2
	kindDone     kind = 3
	kindKeep     kind = 4
	kindTrim     kind = 5
	kindHandover kind = 6
	kindClose    kind = 7
)

// Bounds of what a record may name. No writer comes near the second: it bounds
// what a damaged log can make a reader remember.
const (
	maxParticipants = 4096
	maxChunks       = 1 << 20
)

// record is one entry of a log message: its kind, one byte, and then, numbers
// as unsigned varints and a ResourceID as length and bytes:
//
//	1 Epoch     nothing; only as the first record. The leadership begins
//	2 Commit    epoch, seq, n, n ResourceIDs: the decision and its participants
//	3 Done      epoch, seq: every participant has acknowledged (rule G2)
//	4 Keep      epoch, seq, n, n ResourceIDs: a Commit again, with the participants
//	            that have not acknowledged, before the first is trimmed (rule G3)
//	5 Trim      upTo, 32 bytes SHA-256 of message upTo, horizon epoch, horizon seq
//	            (rules G3, G4). Messages 1 to upTo are not needed any more
//	6 Handover  chunk, chunks, n, n ResourceIDs, n, n transactions (rule O2); only
//	            as the one record of its message. A transaction is epoch, seq, age
//	            epoch, age seq, 8 bytes key of the beginner, nanoseconds to the
//	            deadline, n, n times index of a ResourceID and branch, and if it is
//	            three-phase n, n times index of a ResourceID that it has named
//	7 Close     epoch: three-phase transactions of epochs before that have no Commit
//	            record by now are aborted (rule H5)
type record struct {
	kind         kind
	epoch, seq   uint64           // kindCommit, kindDone, kindKeep; kindClose has no seq
	participants []gtx.ResourceID // kindCommit, kindKeep
	trim         *trim            // kindTrim
	table        *table           // kindHandover
}

// trim says that the log may forget its messages 1 to upTo.
type trim struct {
	upTo    uint64
	hash    Hash // of message upTo
	horizon key
}

// table is a chunk of the active transactions that a leader hands over.
type table struct {
	chunk, chunks uint64
	resources     []gtx.ResourceID
	active        []handed
}

// handed is one active transaction of a table.
type handed struct {
	key      key
	age      key
	secret   uint64
	left     uint64 // nanoseconds to its deadline
	branches []handedBranch
	named    []uint64 // index in table.resources
}

type handedBranch struct {
	resource uint64 // index in table.resources
	id       uint64
}

func (r *record) append(b []byte) []byte {
	b = append(b, byte(r.kind))
	switch r.kind {
	case kindCommit, kindKeep:
		b = appendKey(b, key{r.epoch, r.seq})
		b = appendResources(b, r.participants)
	case kindDone:
		b = appendKey(b, key{r.epoch, r.seq})
	case kindClose:
		b = binary.AppendUvarint(b, r.epoch)
	case kindTrim:
		b = binary.AppendUvarint(b, r.trim.upTo)
		b = append(b, r.trim.hash[:]...)
		b = appendKey(b, r.trim.horizon)
	case kindHandover:
		b = binary.AppendUvarint(b, r.table.chunk)
		b = binary.AppendUvarint(b, r.table.chunks)
		b = appendResources(b, r.table.resources)
		b = binary.AppendUvarint(b, uint64(len(r.table.active)))
		for i := range r.table.active {
			b = r.table.active[i].append(b)
		}
	}
	return b
}

func (h *handed) append(b []byte) []byte {
	b = appendKey(b, h.key)
	b = appendKey(b, h.age)
	b = binary.BigEndian.AppendUint64(b, h.secret)
	b = binary.AppendUvarint(b, h.left)
	b = binary.AppendUvarint(b, uint64(len(h.branches)))
	for _, br := range h.branches {
		b = binary.AppendUvarint(b, br.resource)
		b = binary.AppendUvarint(b, br.id)
	}
	if h.key.threePhase() {
		b = binary.AppendUvarint(b, uint64(len(h.named)))
		for _, i := range h.named {
			b = binary.AppendUvarint(b, i)
		}
	}
	return b
}

func appendKey(b []byte, k key) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, k.epoch), k.seq)
}

func appendResources(b []byte, rs []gtx.ResourceID) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for _, r := range rs {
		b = binary.AppendUvarint(b, uint64(len(r)))
		b = append(b, r...)
	}
	return b
}

// reader consumes b; bad is set by the first thing that does not fit.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) record() record {
	if len(r.b) == 0 {
		r.bad = true
		return record{}
	}
	rec := record{kind: kind(r.b[0])}
	r.b = r.b[1:]
	switch rec.kind {
	case kindEpoch:
	case kindCommit, kindKeep:
		k := r.key()
		rec.epoch, rec.seq, rec.participants = k.epoch, k.seq, r.resources(maxParticipants)
	case kindDone:
		k := r.key()
		rec.epoch, rec.seq = k.epoch, k.seq
	case kindClose:
		rec.epoch = r.uvarint()
		r.bad = r.bad || rec.epoch == 0
	case kindTrim:
		rec.trim = &trim{upTo: r.uvarint()}
		copy(rec.trim.hash[:], r.take(len(Hash{})))
		rec.trim.horizon = key{r.uvarint(), r.uvarint()} // zeros when there is none
	case kindHandover:
		rec.table = r.table()
	default:
		r.bad = true
	}
	return rec
}

func (r *reader) table() *table {
	t := &table{chunk: r.uvarint(), chunks: r.uvarint()}
	if t.chunk >= t.chunks || t.chunks > maxChunks {
		r.bad = true
	}
	t.resources = r.resources(math.MaxInt)
	for n := r.count(); n > 0 && !r.bad; n-- {
		h := handed{key: r.key(), age: r.key()}
		if h.key.less(h.age) {
			r.bad = true
		}
		if secret := r.take(8); secret != nil {
			h.secret = binary.BigEndian.Uint64(secret)
		}
		h.left = r.uvarint()
		for n := r.count(); n > 0 && !r.bad; n-- {
			br := handedBranch{r.uvarint(), r.uvarint()}
			if br.resource >= uint64(len(t.resources)) || br.id == 0 || br.id > math.MaxInt64 {
				r.bad = true
			}
			h.branches = append(h.branches, br)
		}
		if h.key.threePhase() {
			h.named = r.indexes(uint64(len(t.resources)))
		}
		t.active = append(t.active, h)
	}
	return t
}

// indexes reads numbers below limit.
func (r *reader) indexes(limit uint64) (is []uint64) {
	for n := r.count(); n > 0 && !r.bad; n-- {
		i := r.uvarint()
		r.bad = r.bad || i >= limit
		is = append(is, i)
	}
	return is
}

// key reads what names a transaction: neither number is zero.
func (r *reader) key() key {
	k := key{r.uvarint(), r.uvarint()}
	if k.epoch == 0 || k.seq == 0 {
		r.bad = true
	}
	return k
}

// count reads the number of things that follow, of one byte at least.
func (r *reader) count() uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return n
}

// resources reads at most limit of them.
func (r *reader) resources(limit uint64) []gtx.ResourceID {
	n := r.count()
	if n > limit {
		r.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	rs := make([]gtx.ResourceID, 0, n)
	for ; n > 0 && !r.bad; n-- {
		size := r.uvarint()
		if size == 0 || size > MaxResourceLen {
			r.bad = true
			break
		}
		rs = append(rs, gtx.ResourceID(r.take(int(size))))
	}
	return rs
}

// uvarint reads a number in its shortest form.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// take reads n bytes.
func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
