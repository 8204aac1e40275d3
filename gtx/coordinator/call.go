package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// ErrNoAnswer is returned when the time of a Call was over before an answer
// came. The request may have been carried out, or may still be. It wraps
// gtx.ErrUnavailable.
var ErrNoAnswer = fmt.Errorf("coordinator: no answer in time: %w", gtx.ErrUnavailable)

// ErrOverload is returned when a request was turned away unread because too many
// others wait. It wraps gtx.ErrUnavailable.
var ErrOverload = fmt.Errorf("coordinator: too many requests wait: %w", gtx.ErrUnavailable)

// Pace is how a Call spends its time.
type Pace struct {
	// Try is how long one try waits for its answer.
	Try time.Duration
	// PauseMin is the pause behind the first try, PauseMax the longest; it doubles
	// from one to the other. Half of a pause is left to the jitter.
	PauseMin, PauseMax time.Duration
}

// Call is the caller's side of one request, without clock and connection: when
// to send it, when to send it again, and what the caller hears. Set the exported
// fields, then Start it and feed it what happens until Done.
//
// Every request may be sent again. Begin leaves at worst an empty transaction
// that ends by its deadline; the others are idempotent (rules B2, B3, C3, G2).
// For the same reason an answer to any of the tries is an answer.
//
// It asks again, in the time it has, when nothing came back and when the answer
// says nothing about the request: the coordinator asked does not lead (rules L1,
// L6), it was too busy to look, or a Commit is not yet durable (rule L4). All
// else is the answer, refusals included.
type Call struct {
	// Deadline ends the call, whatever has come.
	Deadline time.Time
	// Pace of its tries.
	Pace Pace
	// Decide tells that the request is a Commit: Pending is asked again.
	Decide bool

	state callState
	tries int
	at    time.Time // end of the try or the pause
	reply Reply
	err   error
	cause error // of the last try that failed
	seen  bool  // reply is a Pending, what the caller hears if nothing better comes
}

type callState uint8

const (
	callWaits  callState = iota // for an answer to the try under way
	callPauses                  // before the next try
	callEnded
)

// Next tells the owner of a Call what to do.
type Next struct {
	Send bool      // send the request now
	At   time.Time // call Expire then, unless something else happens before
	Done bool      // Result is final, nothing else is to be done
}

// Start begins the first try.
func (c *Call) Start(now time.Time) Next {
	if !now.Before(c.Deadline) {
		return c.end(Reply{}, ErrNoAnswer)
	}
	return c.try(now)
}

// Reply takes an answer to any try. jitter is random in [0, 1).
func (c *Call) Reply(now time.Time, r Reply, jitter float64) Next {
	switch {
	case c.state == callEnded:
		return Next{Done: true}
	case errors.Is(r.Err, ErrNotLeader) || errors.Is(r.Err, ErrOverload):
		return c.Fail(now, r.Err, jitter)
	case r.Err == nil && r.Status == gtx.Pending && c.Decide:
		c.reply, c.seen = r, true
		return c.pause(now, jitter)
	}
	return c.end(r, r.Err)
}

// Fail says that the try under way has come to nothing: it could not be sent,
// nobody was there to take it, or it was turned away unread.
func (c *Call) Fail(now time.Time, err error, jitter float64) Next {
	if c.state == callEnded {
		return Next{Done: true}
	}
	c.cause = err
	return c.pause(now, jitter)
}

// Expire says that the time of the last Next has come.
func (c *Call) Expire(now time.Time, jitter float64) Next {
	switch {
	case c.state == callEnded:
		return Next{Done: true}
	case !now.Before(c.Deadline):
		return c.GiveUp(nil)
	case now.Before(c.at):
		return Next{At: c.at}
	case c.state == callPauses:
		return c.try(now)
	}
	return c.pause(now, jitter)
}

// GiveUp ends the call because of err, nil when its time is over.
func (c *Call) GiveUp(err error) Next {
	switch {
	case c.state == callEnded:
		return Next{Done: true}
	case c.seen && err == nil:
		return c.end(c.reply, nil)
	}
	end := ErrNoAnswer
	if err != nil {
		end = fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	if c.cause != nil {
		end = fmt.Errorf("%w, and before that: %w", end, c.cause)
	}
	return c.end(Reply{}, end)
}

// Result is what the caller hears once Done. A nil error comes with a status,
// which is Pending when a Commit is not yet durable: then, as with an error that
// wraps gtx.ErrUnavailable, the caller of a Commit does not know (rule C4).
func (c *Call) Result() (Reply, error) { return c.reply, c.err }

// Tries is how often the request was to be sent.
func (c *Call) Tries() int { return c.tries }

func (c *Call) try(now time.Time) Next {
	c.tries++
	c.state, c.at = callWaits, c.cut(now.Add(c.Pace.Try))
	return Next{Send: true, At: c.at}
}

// pause waits before the next try. A second failure of one try, or one of a
// former try, does not make the pause longer.
func (c *Call) pause(now time.Time, jitter float64) Next {
	if c.state != callPauses {
		d := min(c.Pace.PauseMin<<min(c.tries-1, 16), c.Pace.PauseMax)
		c.state, c.at = callPauses, c.cut(now.Add(d/2+time.Duration(jitter*float64(d/2))))
	}
	return Next{At: c.at}
}

func (c *Call) cut(at time.Time) time.Time {
	if at.After(c.Deadline) {
		return c.Deadline
	}
	return at
}

func (c *Call) end(r Reply, err error) Next {
	c.state, c.reply, c.err = callEnded, r, err
	return Next{Done: true}
}
