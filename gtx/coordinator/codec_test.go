package coordinator

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

func sample() *message {
	return &message{
		log: 1, epoch: 2, prev: 3, writer: 4, chain: Hash{5},
		records: []record{
			{kind: kindEpoch},
			{kind: kindCommit, epoch: 2, seq: 300, participants: []gtx.ResourceID{"a", "0b1c"}},
			{kind: kindCommit, epoch: 2, seq: 1 << 60},
			{kind: kindDone, epoch: 1, seq: 7},
		},
	}
}

var asIs = cmp.AllowUnexported(message{}, record{})

func TestCodecRoundTrip(t *testing.T) {
	for _, m := range []*message{sample(), {log: 1, epoch: 1}} {
		got, err := decode(m.encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got, asIs); diff != "" {
			t.Error(diff)
		}
	}
}

func TestCodecRefusesEveryPrefix(t *testing.T) {
	b := sample().encode()
	for n := range b {
		if _, err := decode(b[:n]); err == nil {
			t.Errorf("%d of %d bytes accepted", n, len(b))
		}
	}
}

// FuzzDecode: no input panics, and what is accepted is exactly what encode
// writes. The checksum is repaired, so that the fuzzer gets behind it.
func FuzzDecode(f *testing.F) {
	f.Add(sample().encode())
	f.Add((&message{log: 1, epoch: 1}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= trailerLen {
			b = bytes.Clone(b)
			body := b[:len(b)-trailerLen]
			binary.BigEndian.PutUint32(b[len(body):], crc32.Checksum(body, castagnoli))
		}
		m, err := decode(b)
		if err != nil {
			return
		}
		if got := m.encode(); !bytes.Equal(got, b) {
			t.Errorf("decoded %x, encodes to %x", b, got)
		}
	})
}
