package outbox

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// slots is how many shares the messages of a database are divided in: at most that many
// relays work at once. Senders and relays must agree: do not change.
const slots = 64

// slotOf gives the slot of a key: FNV-1a of its bytes, 32 bit, modulo slots. Messages of
// one key must meet in one slot, whatever process sends them: do not change. A message
// without a key may be in any.
func slotOf(key string) int {
	if key == "" {
		return rand.IntN(slots)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % slots)
}

// ids makes message ids: 32 hexadecimal digits of 16 bytes.
//
//	offset  size  field
//	0       6     milliseconds since 1970
//	6       2     counter
//	8       8     random
//
// The first eight bytes grow with every id of one ids, also when the clock is set back,
// so they order what one process sends. The random part is fresh for every id: a process
// that was copied, with its memory, makes others.
type ids struct{ last atomic.Uint64 }

func (g *ids) next(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], after(&g.last, uint64(now.UnixMilli())<<16))
	_, _ = crand.Read(b[8:]) // never fails
	return hex.EncodeToString(b[:])
}

// after gives want, or the number behind the last one that was given.
func after(last *atomic.Uint64, want uint64) uint64 {
	for {
		was := last.Load()
		n := max(want, was+1)
		if last.CompareAndSwap(was, n) {
			return n
		}
	}
}
