package undo

import "github.com/globaltx/globaltx/gtx"

// maxPause is how many passes of the scan go by, at most, before a stuck
// transaction is tried again.
const maxPause = 32

// stuckNote is what a Resolver remembers of a stuck transaction.
type stuckNote struct {
	marked bool // the headers name row and reason
	row    rowKey
	reason string

	pause int // passes to let go by after the last try
	left  int // of them
}

// failed doubles the pause: each try costs a rollback of all rows, and what is
// stuck mostly waits for a person.
func (n *stuckNote) failed() {
	n.pause = min(max(1, 2*n.pause), maxPause)
	n.left = n.pause - 1
}

// rests tells whether the scan of its own lets a stuck transaction go by this time.
func (r *Resolver) rests(xid gtx.XID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	note, ok := r.stuck[xid]
	if !ok || note.left == 0 {
		return false
	}
	note.left--
	r.stuck[xid] = note
	return true
}
