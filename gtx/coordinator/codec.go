package coordinator

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/globaltx/globaltx/gtx"
)

// Sizes of a log message.
const (
	// MaxMessage bounds a log message, in bytes; a longer one is refused. It
	// stays below the default max_payload of a NATS server.
	MaxMessage = 1<<20 - 4096
	// MaxResourceLen bounds a ResourceID, in bytes.
	MaxResourceLen = 128

	codecVersion = 1
	headerLen    = 72
	trailerLen   = 4
)

// ErrCorrupt is returned for a log message that is damaged or was written by
// something else. A log with one is not served from.
var ErrCorrupt = errors.New("coordinator: log message is corrupt")

// Hash is the SHA-256 of a whole log message.
type Hash [sha256.Size]byte

// kind of a record. The numbers are on disk: do not reorder.
type kind uint8

const (
	kindEpoch  kind = 1
	kindCommit kind = 2
	kindDone   kind = 3
)

// record is one entry of a log message.
type record struct {
	kind         kind
	epoch, seq   uint64           // of the xid; zero for kindEpoch
	participants []gtx.ResourceID // kindCommit: who must acknowledge (rule G2)
}

// message is one entry of the log: what one append makes durable.
//
//	offset  size  field    meaning
//	     0     1  version  1
//	     1     1  -        zero
//	     2     2  part     partition of the log, big endian as every number here
//	     4     8  log      identity of the log (rule I1)
//	    12     8  epoch    leadership that wrote it
//	    20     8  prev     log sequence it was appended behind (rule L3)
//	    28     8  writer   random number of the writing process: tells an own
//	                       message from one of a rival for the same epoch
//	    36    32  chain    SHA-256 of the whole message at prev, zeros at 0
//	    68     4  count    number of records; zero makes a barrier (rule L4)
//	    72     -  records  see below
//	   end     4  crc      CRC-32C of everything before it
//
// A record is its kind, one byte, and then, as unsigned varints:
//
//	1 Epoch   nothing; only as the first record. The leadership begins
//	2 Commit  epoch, seq, n, then n times length and bytes of a ResourceID
//	3 Done    epoch, seq: every participant has acknowledged (rule G2)
type message struct {
	part    uint16
	log     uint64
	epoch   uint64
	prev    uint64
	writer  uint64
	chain   Hash
	records []record
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode gives the bytes of m in a new slice.
func (m *message) encode() []byte {
	n := headerLen + trailerLen
	for i := range m.records {
		n += m.records[i].size()
	}
	b := make([]byte, headerLen, n)
	b[0] = codecVersion
	binary.BigEndian.PutUint16(b[2:], m.part)
	binary.BigEndian.PutUint64(b[4:], m.log)
	binary.BigEndian.PutUint64(b[12:], m.epoch)
	binary.BigEndian.PutUint64(b[20:], m.prev)
	binary.BigEndian.PutUint64(b[28:], m.writer)
	copy(b[36:], m.chain[:])
	binary.BigEndian.PutUint32(b[68:], uint32(len(m.records)))
	for i := range m.records {
		b = m.records[i].append(b)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// size is an upper bound of the encoded length.
func (r *record) size() int {
	n := 1 + 3*binary.MaxVarintLen64
	for _, p := range r.participants {
		n += 2 + len(p)
	}
	return n
}

func (r *record) append(b []byte) []byte {
	b = append(b, byte(r.kind))
	if r.kind == kindEpoch {
		return b
	}
	b = binary.AppendUvarint(b, r.epoch)
	b = binary.AppendUvarint(b, r.seq)
	if r.kind == kindCommit {
		b = binary.AppendUvarint(b, uint64(len(r.participants)))
		for _, p := range r.participants {
			b = binary.AppendUvarint(b, uint64(len(p)))
			b = append(b, p...)
		}
	}
	return b
}

// decode reads what encode wrote, and nothing else. It keeps no part of b.
func decode(b []byte) (*message, error) {
	if len(b) < headerLen+trailerLen || len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	if b[0] != codecVersion || b[1] != 0 {
		return nil, fmt.Errorf("%w: version %d.%d, this program reads %d.0", ErrCorrupt, b[0], b[1], codecVersion)
	}
	body := b[:len(b)-trailerLen]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return nil, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	m := &message{
		part:   binary.BigEndian.Uint16(b[2:]),
		log:    binary.BigEndian.Uint64(b[4:]),
		epoch:  binary.BigEndian.Uint64(b[12:]),
		prev:   binary.BigEndian.Uint64(b[20:]),
		writer: binary.BigEndian.Uint64(b[28:]),
		chain:  Hash(b[36:68]),
	}
	count := binary.BigEndian.Uint32(b[68:])
	if m.epoch == 0 {
		return nil, fmt.Errorf("%w: epoch 0", ErrCorrupt)
	}
	r := reader{b: body[headerLen:]}
	if uint64(count) > uint64(len(r.b)) { // a record has at least one byte
		return nil, fmt.Errorf("%w: %d records in %d bytes", ErrCorrupt, count, len(r.b))
	}
	for i := range count {
		rec := r.record()
		if r.bad || rec.kind == kindEpoch && i != 0 {
			return nil, fmt.Errorf("%w: record %d", ErrCorrupt, i)
		}
		m.records = append(m.records, rec)
	}
	if len(r.b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the last record", ErrCorrupt, len(r.b))
	}
	return m, nil
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
		return rec
	case kindCommit, kindDone:
	default:
		r.bad = true
		return rec
	}
	rec.epoch, rec.seq = r.uvarint(), r.uvarint()
	if rec.epoch == 0 || rec.seq == 0 {
		r.bad = true
	}
	if rec.kind == kindCommit {
		n := r.uvarint()
		if n > uint64(len(r.b)) {
			r.bad = true
		}
		for i := uint64(0); i < n && !r.bad; i++ {
			rec.participants = append(rec.participants, gtx.ResourceID(r.bytes()))
		}
	}
	return rec
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

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n == 0 || n > MaxResourceLen || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
