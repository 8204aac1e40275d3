package tcc

import (
	"bytes"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// States of a guard without a database. Stored: do not change.
const (
	stateTrying     = "trying"
	stateTried      = "tried"
	stateFailed     = "failed" // Try has returned an error or panicked
	stateConfirming = "confirming"
	stateCancelling = "cancelling"
)

// bareVersion is that of bareBody. Stored: a change of meaning counts it up.
const bareVersion = 1

// bareState is the part of a guard that phase two goes by. Times are µs since 1970.
type bareState struct {
	State string `json:"state"`
	// Until is when a Try that has said nothing is taken for dead.
	Until int64 `json:"until,omitempty"`
	// Owner claims the guard until Lease.
	Owner string `json:"owner,omitempty"`
	Lease int64  `json:"lease,omitempty"`
	// Empty: the Try may have done nothing.
	Empty bool `json:"empty,omitempty"`
}

// bareBody is the body of a gtx.Guard.
type bareBody struct {
	V int `json:"v"`
	bareState
	Action  string          `json:"action"`
	Version int             `json:"version"`
	Args    json.RawMessage `json:"args"`
	Created int64           `json:"created"`
	Tries   int             `json:"tries,omitempty"`
	RetryAt int64           `json:"retry,omitempty"`
	Reason  string          `json:"reason,omitempty"`
}

// kept is guard.kept. It is shared by the copies of the guard, so that all know the last
// revision.
type kept struct {
	bareState
	revision uint64
}

// body is less than gtx.MaxGuard: the arguments have at most MaxArgs, the reason is cut.
func (k *kept) body(g *guard) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the arguments stay as they are
	err := enc.Encode(bareBody{
		V: bareVersion, bareState: k.bareState, Action: g.action, Version: g.version, Args: g.args,
		Created: g.created.UnixMicro(), Tries: g.tries, RetryAt: micros(g.retryAt), Reason: storedReason(g.reason),
	})
	if err != nil {
		return nil, fmt.Errorf("encode guard: %w", err)
	}
	return b.Bytes(), nil
}

// readBare gives the guard of what the store has. One that cannot be read belongs to an
// action that nobody has.
func readBare(have gtx.Guard) guard {
	g := guard{xid: have.XID, branch: have.Branch, kept: &kept{revision: have.Revision}}
	var b bareBody
	switch err := json.Unmarshal(have.Body, &b); {
	case err != nil:
		g.action = unreadable
		g.reason = "guard cannot be read: " + err.Error()
	case b.V != bareVersion:
		g.action = unreadable
		g.reason = fmt.Sprintf("guard has version %d of its format, this program reads %d", b.V, bareVersion)
	default:
		g.action, g.version, g.args, g.created = b.Action, b.Version, b.Args, time.UnixMicro(b.Created)
		g.tries, g.reason = b.Tries, b.Reason
		if b.RetryAt != 0 {
			g.retryAt = time.UnixMicro(b.RetryAt)
		}
		g.kept.(*kept).bareState = b.bareState
		g.maybeEmpty = b.Empty
	}
	return g
}

// unreadable is no name of an action.
const unreadable = "(unreadable)"

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func newOwner() string { return crand.Text() }
