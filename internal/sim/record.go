package sim

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// Kinds of record, from the table in gtx/coordinator/codec.go.
const (
	recEpoch    = 1
	recCommit   = 2
	recDone     = 3
	recKeep     = 4
	recTrim     = 5
	recHandover = 6
	recClose    = 7
)

// logMessage is what the checks need of a log message. It is read by code of
// its own, so that a mistake of the shipped decoder is not the checker's, too.
type logMessage struct {
	log, epoch, prev, writer uint64
	records                  []logRecord
}

type logRecord struct {
	kind       byte
	epoch, seq uint64 // of an xid
	resources  []string
	upTo       uint64 // of a trim
}

const (
	headerLen  = 72
	hashLen    = 32
	trailerLen = 4
)

// parse reads a message.
func parse(b []byte) (m logMessage, ok bool) {
	if len(b) < headerLen+trailerLen {
		return m, false
	}
	m.log, m.epoch = binary.BigEndian.Uint64(b[4:]), binary.BigEndian.Uint64(b[12:])
	m.prev, m.writer = binary.BigEndian.Uint64(b[20:]), binary.BigEndian.Uint64(b[28:])
	n := binary.BigEndian.Uint32(b[68:])
	r := b[headerLen : len(b)-trailerLen]
	num := func() uint64 {
		v, k := binary.Uvarint(r)
		if k <= 0 {
			ok = false
			r = nil
			return 0
		}
		r = r[k:]
		return v
	}
	ok = true
	for range n {
		if len(r) == 0 {
			return m, false
		}
		rec := logRecord{kind: r[0]}
		r = r[1:]
		switch rec.kind {
		case recEpoch:
		case recCommit, recKeep:
			rec.epoch, rec.seq = num(), num()
			for i := num(); i > 0 && ok; i-- {
				size := num()
				if size > uint64(len(r)) {
					return m, false
				}
				rec.resources = append(rec.resources, string(r[:size]))
				r = r[size:]
			}
		case recDone:
			rec.epoch, rec.seq = num(), num()
		case recClose:
			rec.epoch = num()
		case recTrim:
			rec.upTo = num()
			if len(r) < hashLen {
				return m, false
			}
			r = r[hashLen:]
			num() // horizon
			num()
		default: // a table of active transactions, which goes alone
			m.records = append(m.records, rec)
			return m, n == 1
		}
		if !ok {
			return m, false
		}
		m.records = append(m.records, rec)
	}
	return m, true
}

// describe is a message for people.
func describe(body []byte) string {
	m, ok := parse(body)
	if !ok {
		return fmt.Sprintf("%d bytes", len(body))
	}
	parts := make([]string, 0, len(m.records))
	for _, r := range m.records {
		switch r.kind {
		case recEpoch:
			parts = append(parts, fmt.Sprintf("Epoch %d", m.epoch))
		case recCommit:
			parts = append(parts, fmt.Sprintf("Commit %x-%x %v", r.epoch, r.seq, r.resources))
		case recKeep:
			parts = append(parts, fmt.Sprintf("Keep %x-%x %v", r.epoch, r.seq, r.resources))
		case recDone:
			parts = append(parts, fmt.Sprintf("Done %x-%x", r.epoch, r.seq))
		case recTrim:
			parts = append(parts, fmt.Sprintf("Trim %d", r.upTo))
		case recClose:
			parts = append(parts, fmt.Sprintf("Close %d", r.epoch))
		case recHandover:
			parts = append(parts, "Handover …")
		default:
			parts = append(parts, fmt.Sprintf("kind %d …", r.kind))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "barrier")
	}
	return strings.Join(parts, ", ")
}

func describeAnswer(e coordinator.Event) string {
	switch e := e.(type) {
	case coordinator.Landed:
		return fmt.Sprintf("landed at %d", e.Seq)
	case coordinator.Found:
		if e.Body == nil {
			return "a hole is there"
		}
		return "there is " + describe(e.Body)
	}
	return "unclear"
}
