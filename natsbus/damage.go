package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// DamageError says that a decision log is not what was written: a message is
// missing or altered, or the end is cut off. A coordinator does not serve from
// it, because a decision that it cannot see reads as aborted.
type DamageError struct {
	// Node is the name of the NATS server that the log was read from; empty when
	// the stream as a whole is gone.
	Node string
	// Stream is the name of the stream.
	Stream string
	// Seq is the sequence of the message that is wrong.
	Seq uint64
	// Replicas is how many servers hold the stream, 0 when that is not known.
	Replicas int
	// Err wraps coordinator.ErrGap, ErrCorrupt or ErrTruncated.
	Err error

	remedy string // what to do, where it is not plain
}

func (e *DamageError) Error() string {
	at := fmt.Sprintf("decision log %s is damaged at message %d", e.Stream, e.Seq)
	if e.Node != "" {
		at += " on server " + e.Node
	}
	remedy := e.remedy
	switch {
	case remedy != "":
	case e.Replicas > 1:
		remedy = "stop that server, empty its store and start it, it gets a whole copy from the others"
	default:
		remedy = "there is no other copy, restore the store of the server from one"
	}
	return fmt.Sprintf("%s: %v (%s)", at, e.Err, remedy)
}

// Unwrap gives Err.
func (e *DamageError) Unwrap() error { return e.Err }

// isDamage reports whether err tells of the log, not of the way to it.
func isDamage(err error) bool {
	return errors.Is(err, coordinator.ErrGap) || errors.Is(err, coordinator.ErrCorrupt) || errors.Is(err, coordinator.ErrTruncated)
}

// damaged gives the error of what was read at seq the name of where it was
// read. An error that is no damage stays what it is.
func (l *decisionLog) damaged(ctx context.Context, seq uint64, err error) error {
	var known *DamageError
	if !isDamage(err) || errors.As(err, &known) {
		return err
	}
	d := &DamageError{Stream: l.name, Seq: seq, Err: err}
	if info, ierr := l.info(ctx); ierr == nil {
		d.Node, d.Replicas = l.leaderOf(info), info.Config.Replicas
	}
	return d
}

// leave makes the server that leads the stream hand it to a replica that is not
// in tried, and waits for that one. It adds the server to tried and reports
// false when all have been tried.
//
// It is right even when the server is not damaged but deposed, cut off and
// answers from the past: then it gives up a leadership that it has lost.
func (l *decisionLog) leave(ctx context.Context, tried map[string]bool) (bool, error) {
	info, err := l.info(ctx)
	if err != nil {
		return false, fmt.Errorf("leave damaged server: %w", err)
	}
	if info.Cluster == nil || info.Config.Replicas < 2 {
		return false, nil
	}
	bad := info.Cluster.Leader
	tried[bad] = true
	next := ""
	for _, p := range info.Cluster.Replicas {
		if !tried[p.Name] && !p.Offline {
			next = p.Name
		}
	}
	if next == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	body, err := json.Marshal(map[string]any{"placement": map[string]string{"preferred": next}})
	if err != nil {
		return false, fmt.Errorf("leave damaged server: %w", err)
	}
	for try := 0; ; try++ {
		// The answer does not matter, and may be lost with the leadership: who
		// leads afterwards does. A missing permission ends as a timeout.
		_, err = l.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+l.name, body, time.Second)
		for poll := 0; pause(ctx, 20*time.Millisecond, 200*time.Millisecond, poll) && poll < 10; poll++ {
			info, ierr := l.info(ctx)
			if ierr == nil && info.Cluster != nil && info.Cluster.Leader != "" && !tried[info.Cluster.Leader] {
				return true, nil
			}
		}
		if ctx.Err() != nil {
			return false, fmt.Errorf("leave damaged server %s: %w", bad, errors.Join(err, ctx.Err()))
		}
	}
}

// leaveTime bounds one change of the stream leader; an election takes at most
// 9 s.
const leaveTime = 30 * time.Second
