package coordinator

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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
	maxRecords   = MaxMessage - headerLen - trailerLen
)

// ErrCorrupt is returned for a log message that is damaged or was written by
// something else. A log with one is not served from.
var ErrCorrupt = errors.New("coordinator: log message is corrupt")

// Hash is the SHA-256 of a whole log message.
type Hash [sha256.Size]byte

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
//	    72     -  records  see record
//	   end     4  crc      CRC-32C of everything before it
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
	b := make([]byte, headerLen, 2*headerLen)
	for i := range m.records {
		b = m.records[i].append(b)
	}
	b = append(b, make([]byte, trailerLen)...)
	m.seal(b, len(m.records))
	return b
}

// seal writes header and checksum around the count records that are in b.
func (m *message) seal(b []byte, count int) {
	b[0] = codecVersion
	binary.BigEndian.PutUint16(b[2:], m.part)
	binary.BigEndian.PutUint64(b[4:], m.log)
	binary.BigEndian.PutUint64(b[12:], m.epoch)
	binary.BigEndian.PutUint64(b[20:], m.prev)
	binary.BigEndian.PutUint64(b[28:], m.writer)
	copy(b[36:], m.chain[:])
	binary.BigEndian.PutUint32(b[68:], uint32(count)) //nolint:gosec // a message is smaller
	end := len(b) - trailerLen
	binary.BigEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
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
		if r.bad || rec.kind == kindEpoch && i != 0 || rec.kind == kindHandover && count != 1 {
			return nil, fmt.Errorf("%w: record %d", ErrCorrupt, i)
		}
		m.records = append(m.records, rec)
	}
	if len(r.b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the last record", ErrCorrupt, len(r.b))
	}
	return m, nil
}
