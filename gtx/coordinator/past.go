package coordinator

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// past is what a machine knows of the log as such.
type past struct {
	first uint64 // sequence of the first message that was loaded
	last  uint64 // of the last, 0 for none
	chain Hash   // of the message at last

	// before is what the first message says of the one before it, if it can be
	// believed to (chained).
	before  Hash
	chained bool

	// What Expect told.
	anchor     uint64
	anchorHash Hash

	trimmed uint64 // upTo of the last Trim record
	freed   int    // value of bytes at message trimmed
	kept    int    // bytes of Keep records since then
	keeping int    // the same, between the two Trim records before
	bytes   int    // of all messages from first to last
	marks   []checkpoint
	spacing int // bytes from one checkpoint to the next

	spans []span
}

// checkpoint is a place where the log may be cut.
type checkpoint struct {
	seq   uint64
	hash  Hash
	bytes int // from the first message to this one
}

// maxCheckpoints bounds the checkpoints: beyond it every other is dropped.
const maxCheckpoints = 256

// span is the part of the log from a table that was adopted to the last Commit
// of one of its transactions. Cut in between, that Commit would belong to no
// epoch that its readers know (rule L7).
type span struct{ from, to uint64 }

// advance takes note of the message at seq.
func (p *past) advance(seq uint64, body []byte) {
	if p.first == 0 {
		p.first = seq
	}
	p.last, p.chain = seq, sha256.Sum256(body)
	p.bytes += len(body)
	at := p.freed
	if n := len(p.marks); n > 0 {
		at = p.marks[n-1].bytes
	}
	if p.bytes-at < p.spacing {
		return
	}
	p.marks = append(p.marks, checkpoint{seq, p.chain, p.bytes})
	if len(p.marks) > maxCheckpoints {
		n := 0
		for i := 1; i < len(p.marks); i += 2 {
			p.marks[n] = p.marks[i]
			n++
		}
		p.marks = p.marks[:n]
		p.spacing *= 2
	}
}

// check compares the last message with what Expect told.
func (p *past) check() error {
	if p.last == p.anchor && p.anchor != 0 && p.chain != p.anchorHash ||
		p.first == p.anchor+1 && p.anchor != 0 && p.chained && p.before != p.anchorHash {
		return fmt.Errorf("%w: message %d is not the one that is known", ErrCorrupt, p.anchor)
	}
	return nil
}

// complete tells whether what was loaded is all that a leader must know.
func (p *past) complete() error {
	if p.last < p.anchor {
		return fmt.Errorf("log ends at %d, before %d: %w", p.last, p.anchor, ErrTruncated)
	}
	if p.first > 1 && p.trimmed < p.first-1 {
		return fmt.Errorf("log begins at %d, trimmed up to %d: %w", p.first, p.trimmed, ErrGap) // rules L2, G3
	}
	return nil
}

// trim forgets what only the messages up to t.upTo needed.
func (p *past) trim(t *trim, least int) {
	n := 0
	for n < len(p.marks) && p.marks[n].seq <= t.upTo {
		p.freed = p.marks[n].bytes
		n++
	}
	p.marks = slices.Delete(p.marks, 0, n)
	p.spans = slices.DeleteFunc(p.spans, func(s span) bool { return s.to <= t.upTo })
	p.trimmed = t.upTo
	p.keeping, p.kept = p.kept, 0
	p.spacing = max(least, (p.bytes-p.freed)/(maxCheckpoints/2))
}

// extend makes the span that begins at from reach to.
func (p *past) extend(from, to uint64) {
	if n := len(p.spans); n > 0 && p.spans[n-1].from == from {
		p.spans[n-1].to = to
		return
	}
	p.spans = append(p.spans, span{from, to})
}

// splits reports whether a cut behind seq would split a span.
func (p *past) splits(seq uint64) bool {
	return slices.ContainsFunc(p.spans, func(s span) bool { return s.from <= seq && seq < s.to })
}
