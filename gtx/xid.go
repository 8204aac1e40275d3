package gtx

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// XID names one global transaction (rule I1). The zero XID names none.
//
// Its text form is log-partition-epoch-seq, four lower-case hexadecimal
// numbers, log with 16 digits: at most [MaxXIDLen] bytes of [0-9a-f-], so it is safe in
// a SQL literal, a header and a subject.
type XID struct {
	// Log is the random identity of the decision log that knows the fate.
	Log uint64
	// Partition is the part of the log, 0 where it is not partitioned.
	Partition uint16
	// Epoch is the leadership that minted the XID, from 1.
	Epoch uint64
	// Seq counts the transactions of an epoch, from 1.
	Seq uint64
}

// MaxXIDLen is the length of the longest text form of an XID, in bytes.
const MaxXIDLen = 16 + 1 + 4 + 1 + 16 + 1 + 16

// IsZero reports whether x names no transaction.
func (x XID) IsZero() bool { return x == XID{} }

// String gives the text form.
func (x XID) String() string {
	return fmt.Sprintf("%016x-%x-%x-%x", x.Log, x.Partition, x.Epoch, x.Seq)
}

// ParseXID reads the text form, and only exactly what [XID.String] writes: two
// texts never name one transaction, so a text compares as the XID does.
func ParseXID(s string) (XID, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 4 || len(parts[0]) != 16 {
		return XID{}, fmt.Errorf("parse xid %.80q: want log-partition-epoch-seq in hexadecimal", s)
	}
	var n [4]uint64
	for i, bits := range [4]int{64, 16, 64, 64} {
		var err error
		if n[i], err = strconv.ParseUint(parts[i], 16, bits); err != nil {
			return XID{}, fmt.Errorf("parse xid %.80q: %w", s, err)
		}
	}
	x := XID{Log: n[0], Partition: uint16(n[1]), Epoch: n[2], Seq: n[3]}
	if x.String() != s || x.Epoch == 0 || x.Seq == 0 {
		return XID{}, fmt.Errorf("parse xid %.80q: not in canonical form", s)
	}
	return x, nil
}

// MarshalText is the text form; the zero XID gives an empty text.
func (x XID) MarshalText() ([]byte, error) {
	if x.IsZero() {
		return nil, nil
	}
	return []byte(x.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (x *XID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*x = XID{}
		return nil
	}
	v, err := ParseXID(string(b))
	if err == nil {
		*x = v
	}
	return err
}

// ResourceID names one database: a UUID kept in its gtx_resource table, so it
// is the same however the database is addressed and holds no secret.
type ResourceID string

// BranchID names one local transaction at one resource. A local transaction
// that is tried again takes a new one (rule I3).
type BranchID int64

var lastBranch atomic.Int64

// NewBranchID mints a positive BranchID. IDs of one process ascend, those of
// several processes ascend as their clocks do; phase two undoes in descending
// order. Uniqueness within an XID and a resource is enforced by the primary key
// of gtx_branch, not by the random bits.
func NewBranchID() BranchID {
	id := branchID(time.Now(), rand.Int64N(1<<branchRandomBits))
	for {
		last := lastBranch.Load()
		id = max(id, last+1)
		if lastBranch.CompareAndSwap(last, id) {
			return BranchID(id)
		}
	}
}

// branchRandomBits leaves 53 bits for microseconds since 1970: positive until
// the year 2255.
const branchRandomBits = 10

func branchID(now time.Time, random int64) int64 {
	return now.UnixMicro()<<branchRandomBits | random
}

// BranchRef names one branch of a global transaction.
type BranchRef struct {
	Resource ResourceID `json:"r"`
	Branch   BranchID   `json:"b"`
}
