package natsbus

import (
	"encoding/binary"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

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

func (r *reader) resources() []gtx.ResourceID {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	ids := make([]gtx.ResourceID, n)
	for i := range ids {
		ids[i] = r.resource()
	}
	return ids
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
