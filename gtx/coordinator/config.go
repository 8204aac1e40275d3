package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// Config bounds a Machine. The zero value of every field gives its default.
type Config struct {
	// Partition of the XIDs and of the log (rule O3), default 0.
	Partition uint16
	// MaxLive bounds the undecided transactions, default 100 000. Begin beyond
	// it returns a LimitError. All their branches together are bounded by 16
	// times as many; Register beyond that returns a LimitError.
	MaxLive int
	// MaxUnfinished bounds the committed transactions whose participants have
	// not all acknowledged, default 1 000 000, and their outstanding
	// acknowledgements to 4 times as many: a database that is away for long stops
	// new transactions before it fills the memory.
	MaxUnfinished int
	// MaxBranches bounds the branches of one transaction, default 1024, at most
	// 4096. Register beyond it returns a LimitError.
	MaxBranches int
	// DefaultTimeout ends a transaction that was begun without one, default
	// gtx.DefaultTimeout.
	DefaultTimeout time.Duration
	// MaxTimeout cuts longer timeouts, default 24 h.
	MaxTimeout time.Duration
	// PushMin is the first, PushMax the longest time after which the pushes to a
	// resource that acknowledges nothing are repeated; it doubles, and starts
	// again with an acknowledgement. Defaults 500 ms and 30 s.
	PushMin, PushMax time.Duration
	// PushWindow bounds the pushes to one resource that wait for their
	// acknowledgement, default 256. It bounds what a database that comes back
	// after a long time is flooded with.
	PushWindow int
	// DoneDelay is how long a Done record waits for other records to ride with,
	// default 200 ms.
	DoneDelay time.Duration
	// Tombstone is how long a finished commit is still answered with committed,
	// default 1 h; later it is expired (rules C5, G5).
	Tombstone time.Duration
	// MaxTombstones bounds their number, default 1 000 000, about 100 bytes
	// each. Beyond it the oldest expire early.
	MaxTombstones int
	// MaxBatch bounds the records of one log message, in bytes, default 256 KiB.
	// One record may be longer and then goes alone.
	MaxBatch int
	// TrimBytes is how much is appended to the log before its beginning is
	// trimmed again (rule G3), in bytes, default 64 MiB, at least 512.
	TrimBytes int
	// PreCommitWait is how long a three-phase transaction waits for its participants to
	// know that all have prepared, before it is decided without them, default 1 s
	// (rule H2). Keep it well below the 10 s that a caller waits for its commit.
	PreCommitWait time.Duration
	// ClaimWindow is for how long a leader, since it began to lead, does not take an
	// unknown three-phase transaction of an earlier epoch for aborted, default 5 s: its
	// participants may claim it meanwhile (rules H3, H4), which they do about 2.5 s after
	// they were told. It is about what is saved, not about safety.
	ClaimWindow time.Duration
	// StallAfter is the age of the outstanding append at which Begin is refused:
	// the log takes no writes now, so what begins would not commit. Default 2 s.
	StallAfter time.Duration
}

func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		v   *int
		def int
	}{
		{&c.MaxLive, 100_000},
		{&c.MaxUnfinished, 1_000_000},
		{&c.MaxBranches, 1024},
		{&c.MaxTombstones, 1_000_000},
		{&c.MaxBatch, 256 << 10},
		{&c.PushWindow, 256},
		{&c.TrimBytes, 64 << 20},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < 0 {
			return c, errors.New("check coordinator config: negative limit")
		}
	}
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.DefaultTimeout, gtx.DefaultTimeout},
		{&c.MaxTimeout, 24 * time.Hour},
		{&c.PushMin, 500 * time.Millisecond},
		{&c.PushMax, 30 * time.Second},
		{&c.DoneDelay, 200 * time.Millisecond},
		{&c.Tombstone, time.Hour},
		{&c.StallAfter, 2 * time.Second},
		{&c.PreCommitWait, time.Second},
		{&c.ClaimWindow, 5 * time.Second},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < 0 {
			return c, errors.New("check coordinator config: negative time")
		}
	}
	if c.MaxBranches > 4096 {
		return c, fmt.Errorf("check coordinator config: MaxBranches %d exceeds 4096", c.MaxBranches)
	}
	if c.MaxBatch > MaxMessage/2 {
		return c, fmt.Errorf("check coordinator config: MaxBatch %d exceeds %d", c.MaxBatch, MaxMessage/2)
	}
	if c.TrimBytes < 512 { // a Trim record would be a reason for the next
		return c, fmt.Errorf("check coordinator config: TrimBytes %d is less than 512", c.TrimBytes)
	}
	c.PushMax = max(c.PushMax, c.PushMin)
	return c, nil
}

var (
	// ErrNotLeader is returned while the machine does not lead, and for an XID of
	// a later epoch than its own (rule L6). Ask another coordinator, or again. It
	// wraps gtx.ErrUnavailable.
	ErrNotLeader = fmt.Errorf("coordinator: does not lead the epoch of the xid: %w", gtx.ErrUnavailable)

	// ErrForeignLog is returned for an XID of another decision log. It says
	// nothing about its fate: never read it as aborted (rule I1).
	ErrForeignLog = errors.New("coordinator: xid belongs to another decision log")

	// ErrInvalid is returned for a request that no correct client sends. Nothing
	// has changed.
	ErrInvalid = errors.New("coordinator: request is not valid")

	// ErrFenced is the reason to step down when a later epoch is in the log.
	ErrFenced = errors.New("coordinator: another coordinator has taken over the log")

	// ErrGap is the reason not to serve when a message of the log is missing
	// (rules L2, L4).
	ErrGap = errors.New("coordinator: a message of the log is missing")

	// ErrTruncated is the reason not to serve when the log ends before a message
	// that Expect knows of.
	ErrTruncated = errors.New("coordinator: the log has lost its end")

	// ErrHandedOver is the reason to step down after Handover: the active
	// transactions are in the log, for the next leader to adopt (rule O2).
	ErrHandedOver = errors.New("coordinator: has handed over")

	// ErrNotOwner is returned for a Commit or Rollback of an undecided XID that
	// was begun with another Key. Nothing has changed.
	ErrNotOwner = errors.New("coordinator: transaction belongs to another process")

	// ErrBusy is returned when the coordinator cannot do now what was asked for:
	// the log takes no writes, or somebody else has the lease. Ask later. It wraps
	// gtx.ErrUnavailable.
	ErrBusy = fmt.Errorf("coordinator: busy: %w", gtx.ErrUnavailable)
)

// LimitError is returned when a request would exceed a limit of Config. The
// request has changed nothing. It matches gtx.ErrUnavailable: the transaction
// that met it is not begun or will abort.
type LimitError struct {
	What  string // what there would be too many of: "live transactions", "branches"
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("coordinator: limit of %d %s reached", e.Limit, e.What)
}

// Unwrap gives gtx.ErrUnavailable.
func (e *LimitError) Unwrap() error { return gtx.ErrUnavailable }
