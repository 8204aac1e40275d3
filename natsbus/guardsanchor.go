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

// The anchor of the guards is one message in a stream of its own that says which stream
// holds them, and how far that went (rule Y3). A stream of guards that is lost and made
// anew looks like one whose actions have all ended. The identity is the first message of
// the stream, so a purge shows, too; the end is written about once a second while guards
// are asked for.
//
// There is none before the first guard, and where an older version made the stream: what
// is there is taken as it is then. So deleting the anchor is how an operator says that the
// loss of guards is accepted.
//
// Bytes, big endian:
//
//	offset size field
//	     0    1 version, 1
//	     1    8 id       identity of the stream: the body of its message guardIDSubject
//	     9    8 seq      of a message of the stream
//	    17    4 crc      CRC-32C of everything before it
const (
	guardAnchorStream  = "GTX_GUARD_ANCHOR"
	guardAnchorSubject = "gtx.anchor.guard"
	// guardIDSubject is a subject that no guard has, as guardMark.
	guardIDSubject = guardPrefix + "id"

	guardAnchorVersion = 1
	guardAnchorLen     = 21
)

// guardAnchor is what is known of the stream of guards; zero: nothing.
type guardAnchor struct {
	id  uint64 // not 0
	seq uint64
}

func (a guardAnchor) encode() []byte {
	b := append(make([]byte, 0, guardAnchorLen), guardAnchorVersion)
	b = binary.BigEndian.AppendUint64(b, a.id)
	b = binary.BigEndian.AppendUint64(b, a.seq)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeGuardAnchor(b []byte) (guardAnchor, error) {
	if len(b) == guardAnchorLen && b[0] == guardAnchorVersion &&
		crc32.Checksum(b[:guardAnchorLen-4], castagnoli) == binary.BigEndian.Uint32(b[guardAnchorLen-4:]) {
		if a := (guardAnchor{binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])}); a.id != 0 {
			return a, nil
		}
	}
	return guardAnchor{}, fmt.Errorf("%w: not an anchor of guards of version %d", coordinator.ErrCorrupt, guardAnchorVersion)
}

// lost says that the stream is not the one that held the guards, or not all of it.
func (g *guardLog) lost(format string, args ...any) error {
	remedy := "restore it, or delete stream " + guardAnchorStream + ", too, and give all its guards up"
	if g.known.id != 0 {
		remedy += "; then restart the coordinators"
	}
	return fmt.Errorf("stream %s does not hold the guards that were kept: %s: %w (%s)", guardStream, fmt.Sprintf(format, args...), coordinator.ErrTruncated, remedy)
}

// readAnchor gives the anchor and its revision, both zero where there is none. missing
// tells that there is not even a stream for it.
func (g *guardLog) readAnchor(ctx context.Context) (a guardAnchor, rev uint64, missing bool, err error) {
	s, err := g.log.find(ctx, guardAnchorStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return a, 0, true, nil
	}
	if err != nil {
		return a, 0, false, fmt.Errorf("open anchor of guards: %w", err)
	}
	last := s.CachedInfo().State.LastSeq
	if last == 0 {
		return a, 0, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	msg, err := s.GetLastMsgForSubject(ctx, guardAnchorSubject)
	if err == nil {
		rev = msg.Sequence
		a, err = decodeGuardAnchor(msg.Data)
	} else if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = fmt.Errorf("%w: %w", coordinator.ErrGap, err)
	}
	if isDamage(err) {
		return a, 0, false, fmt.Errorf("read message %d of stream %s on server %s: %w (make sure of the store of that server and of stream %s, then delete stream %s, it will be made again)",
			last, guardAnchorStream, g.log.leaderOf(s.CachedInfo()), err, guardStream, guardAnchorStream)
	}
	if err != nil {
		return a, 0, false, fmt.Errorf("read anchor of guards: %w", err)
	}
	return a, rev, false, nil
}

// makeAnchor makes the stream of the anchor.
func (g *guardLog) makeAnchor(ctx context.Context) error {
	_, err := g.log.make(ctx, jetstream.StreamConfig{
		Name:        guardAnchorStream,
		Description: "identity and end of the stream of guards of globaltx",
		Subjects:    []string{guardAnchorSubject},
		Storage:     jetstream.FileStorage,
		MaxMsgs:     1,
		Replicas:    g.log.cfg.Replicas,
		Duplicates:  100 * time.Millisecond,
	})
	if err != nil {
		return fmt.Errorf("make anchor of guards: %w", err)
	}
	return nil
}

// saveAnchor replaces the anchor of that revision, 0 for none, and gives the new revision.
// Of several nodes that write at once one does.
func (g *guardLog) saveAnchor(ctx context.Context, a guardAnchor, rev uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	ack, err := g.log.js.Publish(ctx, guardAnchorSubject, a.encode(), jetstream.WithExpectStream(guardAnchorStream),
		jetstream.WithExpectLastSequencePerSubject(rev), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, fmt.Errorf("save anchor of guards: %w", err)
	}
	return ack.Sequence, nil
}

// readID gives the identity of the stream and where it stands, 0 where it has none.
func (g *guardLog) readID(ctx context.Context, s jetstream.Stream) (id, seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	msg, err := s.GetLastMsgForSubject(ctx, guardIDSubject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, 0, nil
	case err != nil:
		return 0, 0, fmt.Errorf("read identity of guards: %w", err)
	case len(msg.Data) != 8 || binary.BigEndian.Uint64(msg.Data) == 0:
		return 0, 0, g.lost("its identity is not readable")
	}
	return binary.BigEndian.Uint64(msg.Data), msg.Sequence, nil
}

// adopt gives the stream an identity, where it has none, and anchors that. Whoever dies
// in between has acknowledged no guard, and the next one goes on. Several nodes may do it at
// once: each write expects that there is nothing, and who is late looks again.
func (g *guardLog) adopt(ctx context.Context, s jetstream.Stream, missing bool) (a guardAnchor, rev uint64, err error) {
	id, seq, err := g.readID(ctx, s)
	if err != nil {
		return a, 0, err
	}
	if id == 0 {
		id = random()
		ack, err := g.log.js.Publish(ctx, guardIDSubject, binary.BigEndian.AppendUint64(nil, id), jetstream.WithExpectStream(guardStream),
			jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithRetryAttempts(0))
		if err != nil {
			return a, 0, fmt.Errorf("write identity of guards: %w", err)
		}
		seq = ack.Sequence
	}
	if missing {
		if err := g.makeAnchor(ctx); err != nil {
			return a, 0, err
		}
	}
	a = guardAnchor{id, max(seq, s.CachedInfo().State.LastSeq)}
	rev, err = g.saveAnchor(ctx, a, 0)
	return a, rev, err
}

// verify holds that s, which was looked at after the anchor was read, is what the anchor and
// this process know.
func (g *guardLog) verify(ctx context.Context, s jetstream.Stream, a guardAnchor) error {
	id, _, err := g.readID(ctx, s)
	if err != nil {
		return err
	}
	st := s.CachedInfo().State
	switch {
	case id == 0:
		return g.lost("its identity is gone")
	case id != a.id:
		return g.lost("it is stream %016x and was %016x", id, a.id)
	case g.known.id != 0 && id != g.known.id:
		return g.lost("it is stream %016x and was %016x when this node saw it first", id, g.known.id)
	case st.LastSeq < max(a.seq, g.known.seq):
		return g.lost("it ends at message %d and went to %d", st.LastSeq, max(a.seq, g.known.seq))
	case st.Lost != nil && len(st.Lost.Msgs) > 0:
		return g.lost("the server says that it has lost %d messages", len(st.Lost.Msgs))
	}
	return nil
}

// overtaken reports whether err says that somebody else has written first.
func overtaken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
