package natsbus

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Subjects among coordinators. Applications have no right to them.
const (
	// beatSubject carries the beats of the leader.
	beatSubject = "gtx.ctl.leader"
	// statusSubject asks every node for its NodeStatus.
	statusSubject = "gtx.ctl.status"
)

// beatEvery is how often a leader says that it lives.
const beatEvery = 250 * time.Millisecond

// beat is a sign of life of a leader. It serves liveness only: nobody believes
// what it says, it is a reason to look into the log or to leave the log alone
// (rules A3, L8).
type beat struct {
	Partition uint16 `json:"p,omitempty"`
	Node      uint64 `json:"i"` // random for every start
	Name      string `json:"n"`
	Epoch     uint64 `json:"e"`
	Seq       uint64 `json:"s"`           // of the last message in the log
	Free      bool   `json:"f,omitempty"` // handed over: nobody leads now
}

// readBeat gives a beat of another node of this partition.
func (s *Service) readBeat(m *nats.Msg) (b beat, ok bool) {
	if json.Unmarshal(m.Data, &b) != nil {
		return b, false
	}
	return b, b.Node != s.id && b.Partition == s.cfg.Coordinator.Partition
}

func (s *Service) sendBeat(epoch, seq uint64, free bool) {
	b := beat{
		Partition: s.cfg.Coordinator.Partition, Node: s.id, Name: s.cfg.Name,
		Epoch: epoch, Seq: seq, Free: free,
	}
	_ = s.nc.Publish(beatSubject, mustJSON(b)) // lost: the next one follows
}

// ownReply reports whether an answer to m goes to an inbox. A caller may name
// any subject, and the answer is written with the rights of the coordinator.
func ownReply(m *nats.Msg) bool {
	return strings.HasPrefix(m.Reply, "_INBOX.") || strings.HasPrefix(m.Reply, "_R_.")
}

// clock tells the times of one term: the wall clock of its first moment, moved
// on by the monotonic one. A clock that is set while the coordinator leads
// changes no deadline.
type clock struct{ base, start time.Time }

func newClock(wall func() time.Time) clock {
	// Without the monotonic reading of wall, so that every comparison is of the
	// same kind, also with the times in the log.
	return clock{base: wall().Round(0), start: time.Now()}
}

func (c clock) now() time.Time { return c.base.Add(time.Since(c.start)) }
