package natsbus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// Role of a node. The words travel on the wire.
type Role string

const (
	// RoleStandby follows the log.
	RoleStandby Role = "standby"
	// RoleCandidate waits for its epoch record to be in the log (rule L1).
	RoleCandidate Role = "candidate"
	// RoleLeader answers requests.
	RoleLeader Role = "leader"
)

// NodeStatus is what a node says of itself.
type NodeStatus struct {
	Name      string `json:"name"`
	Partition uint16 `json:"partition"`
	Role      Role   `json:"role"`
	// Leader is the name of the node that this one follows, empty when it has
	// heard none.
	Leader string `json:"leader,omitempty"`
	// Log is the identity of the decision log, in hex.
	Log string `json:"log,omitempty"`
	// Epoch is the highest that the node knows, Seq the last message of the log
	// that it has, LeaderSeq the last one that it has heard of.
	Epoch     uint64 `json:"epoch"`
	Seq       uint64 `json:"seq"`
	LeaderSeq uint64 `json:"leader_seq"`
	// Stats of a leader.
	Stats coordinator.Stats `json:"stats,omitzero"`
	// Trouble is why the node cannot serve now, empty when it can.
	Trouble string `json:"trouble,omitempty"`
}

// Lag is how many messages of the log the node has yet to read.
func (n NodeStatus) Lag() uint64 { return max(n.LeaderSeq, n.Seq) - n.Seq }

// nodesWait is how long Nodes waits for one more answer.
const nodesWait = 500 * time.Millisecond

// Nodes asks every node behind cfg for its status and gives them by name. It
// waits half a second for the last one. Only URL and Options of cfg are used;
// the user needs the rights of a coordinator. An error wraps gtx.ErrUnavailable
// when no server, or no node, is there.
func Nodes(ctx context.Context, cfg ServiceConfig) ([]NodeStatus, error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil)) // the error says it
	nc, err := dial(cfg.URL, quiet, append([]nats.Option{nats.Name("globaltx status")}, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("ask coordinators: %w: %w", gtx.ErrUnavailable, err)
	}
	defer nc.Close()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask coordinators: %w", err)
	}
	if err := nc.PublishRequest(statusSubject, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask coordinators: %w", err)
	}
	var nodes []NodeStatus
	for {
		next, cancel := context.WithTimeout(ctx, nodesWait)
		m, err := sub.NextMsgWithContext(next)
		cancel()
		switch {
		case err == nil:
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && len(nodes) > 0:
			slices.SortFunc(nodes, func(a, b NodeStatus) int {
				return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Name, b.Name))
			})
			return nodes, nil
		default:
			return nil, fmt.Errorf("ask coordinators: %w: %w", gtx.ErrUnavailable, err)
		}
		var n NodeStatus
		if err := json.Unmarshal(m.Data, &n); err != nil {
			return nil, fmt.Errorf("read status of a coordinator: %w", err)
		}
		nodes = append(nodes, n)
	}
}

// answerStatus tells who asks what Status says.
func (s *Service) answerStatus(m *nats.Msg) {
	if ownReply(m) {
		_ = s.nc.Publish(m.Reply, mustJSON(s.Status())) // lost: it asks again
	}
}
