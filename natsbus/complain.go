package natsbus

import (
	"log/slog"
	"sync"
	"time"
)

// complainEvery is how often one kind of complaint is written.
const complainEvery = time.Minute

// complaints logs what others do wrong: each kind once, and again, with the
// number of those between, when complainEvery has passed. A hostile peer fills
// no disk. Safe for concurrent use.
type complaints struct {
	log *slog.Logger

	// mu protects the following.
	mu    sync.Mutex
	kinds map[string]*complaint // the kinds are constants of this package
}

type complaint struct {
	last   time.Time
	hidden int
}

func newComplaints(log *slog.Logger) *complaints {
	return &complaints{log: log, kinds: map[string]*complaint{}}
}

// warn logs kind with args, unless it did so lately.
func (c *complaints) warn(kind string, args ...any) {
	c.mu.Lock()
	k := c.kinds[kind]
	if k == nil {
		k = &complaint{}
		c.kinds[kind] = k
	}
	now := time.Now()
	if !k.last.IsZero() && now.Sub(k.last) < complainEvery {
		k.hidden++
		c.mu.Unlock()
		return
	}
	hidden := k.hidden
	k.last, k.hidden = now, 0
	c.mu.Unlock()
	if hidden > 0 {
		args = append(args, "more_since_last", hidden)
	}
	c.log.Warn(kind, args...)
}
