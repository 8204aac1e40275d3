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
			{kind: kindKeep, epoch: 1, seq: 9, participants: []gtx.ResourceID{"b"}},
			{kind: kindTrim, trim: &trim{upTo: 2, hash: Hash{7}, horizon: key{1, 4}}},
			{kind: kindClose, epoch: 2},
		},
	}
}

func sampleTable() *message {
	return &message{
		part: 3, log: 1, epoch: 2, prev: 3, writer: 4,
		records: []record{{kind: kindHandover, table: &table{
			chunk: 1, chunks: 2, resources: []gtx.ResourceID{"a", "b"},
			active: []handed{
				{key: key{2, 5}, age: key{1, 9}, secret: 1 << 63, left: 300, branches: []handedBranch{{1, 7}, {0, 1 << 62}}},
				{key: key{2, 6}, age: key{2, 6}},
				{key: key{2, 32}, age: key{2, 32}, named: []uint64{1, 0}, branches: []handedBranch{{0, 3}}},
				{key: key{2, 48}, age: key{2, 48}},
			},
		}}},
	}
}

var asIs = cmp.AllowUnexported(message{}, record{}, trim{}, table{}, handed{}, handedBranch{}, key{})

func TestCodecRoundTrip(t *testing.T) {
	for _, m := range []*message{sample(), sampleTable(), {log: 1, epoch: 1}} {
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
	for _, m := range []*message{sample(), sampleTable()} {
		b := m.encode()
		for n := range b {
			if _, err := decode(b[:n]); err == nil {
				t.Errorf("%d of %d bytes accepted", n, len(b))
			}
		}
	}
}

// FuzzDecode: no input panics, and what is accepted is exactly what encode
// writes. The checksum is repaired, so that the fuzzer gets behind it.
func FuzzDecode(f *testing.F) {
	f.Add(sample().encode())
	f.Add(sampleTable().encode())
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
