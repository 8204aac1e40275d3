package natsbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// The anchor is one message in a stream of its own that says how far the log
// went: a log that has lost its end looks whole, to the last message that it
// still has. Written by the leader behind its appends, about once a second; what
// was appended since the last one is not anchored.
//
// An anchor that is too old, because a deposed leader wrote it last, is weaker
// and still true. A missing one does not keep the coordinator from serving: the
// log alone is checked as well as it can be, and deleting the anchor is how an
// operator says that the loss of the end is accepted.
//
// Bytes, big endian:
//
//	offset size field
//	     0    1 version, 1
//	     1    8 log      identity of the log
//	     9    8 seq      of a message of the log
//	    17   32 hash     SHA-256 of that message
//	    49    4 crc      CRC-32C of everything before it
const (
	anchorStream  = "GTX_ANCHOR"
	anchorSubject = "gtx.anchor"

	anchorVersion = 1
	anchorLen     = 53
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p position) encode() []byte {
	b := make([]byte, 0, anchorLen)
	b = append(b, anchorVersion)
	b = binary.BigEndian.AppendUint64(b, p.log)
	b = binary.BigEndian.AppendUint64(b, p.seq)
	b = append(b, p.hash[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodePosition(b []byte) (position, error) {
	if len(b) != anchorLen || b[0] != anchorVersion ||
		crc32.Checksum(b[:anchorLen-4], castagnoli) != binary.BigEndian.Uint32(b[anchorLen-4:]) {
		return position{}, fmt.Errorf("%w: not an anchor of version %d", coordinator.ErrCorrupt, anchorVersion)
	}
	return position{
		log: binary.BigEndian.Uint64(b[1:]), seq: binary.BigEndian.Uint64(b[9:]), hash: coordinator.Hash(b[17:49]),
	}, nil
}

// anchorNames gives the stream of the anchor and its subject.
func (l *decisionLog) anchorNames() (stream, subject string) {
	if p := l.cfg.Coordinator.Partition; p != 0 {
		return fmt.Sprintf("%s_%d", anchorStream, p), fmt.Sprintf("%s.%d", anchorSubject, p)
	}
	return anchorStream, anchorSubject
}

// anchor reads the anchor, zero when there is none yet. It makes the stream when
// that is missing.
func (l *decisionLog) anchor(ctx context.Context) (position, error) {
	name, subject := l.anchorNames()
	s, err := l.find(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = l.make(ctx, jetstream.StreamConfig{
			Name:        name,
			Description: "end of the decision log of globaltx",
			Subjects:    []string{subject},
			Storage:     jetstream.FileStorage,
			MaxMsgs:     1,
			Replicas:    l.cfg.Replicas,
			Duplicates:  100 * time.Millisecond,
		})
	}
	if err != nil {
		return position{}, fmt.Errorf("open anchor of decision log: %w", err)
	}
	last := s.CachedInfo().State.LastSeq
	if last == 0 {
		return position{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var p position
	msg, err := s.GetLastMsgForSubject(ctx, subject)
	if err == nil {
		p, err = decodePosition(msg.Data)
	} else if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = fmt.Errorf("%w: %w", coordinator.ErrGap, err)
	}
	if isDamage(err) {
		return p, &DamageError{
			Node: l.leaderOf(s.CachedInfo()), Stream: name, Seq: last, Err: fmt.Errorf("read anchor: %w", err),
			remedy: "make sure of the store of that server, then delete this stream, it will be made again",
		}
	}
	if err != nil {
		return p, fmt.Errorf("read anchor of decision log: %w", err)
	}
	return p, nil
}

// saveAnchor remembers that the message at seq, with that hash, is in the log.
func (l *decisionLog) saveAnchor(ctx context.Context, log, seq uint64, hash coordinator.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	name, subject := l.anchorNames()
	_, err := l.js.Publish(ctx, subject, position{log, seq, hash}.encode(),
		jetstream.WithExpectStream(name), jetstream.WithRetryAttempts(0))
	if err != nil {
		return fmt.Errorf("save anchor of decision log: %w", err)
	}
	return nil
}
