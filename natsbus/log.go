package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// firstAppendTimeout is how long the first try of an append waits for its
// acknowledgement: an answer that died with a server is not waited for long, and
// to ask again is safe (rule L4). Every try waits twice as long as the one
// before, at most appendTimeout, so that a slow disk gets its time.
const firstAppendTimeout = time.Second

// appendTimeout bounds one try of an append, and other questions to the servers.
const appendTimeout = 5 * time.Second

const (
	apiTimeout    = 2 * time.Second
	createTimeout = 20 * time.Second
)

// decisionLog is the stream that holds the decisions of one partition, and the
// small one that remembers its end. Loading, appending and purging may each run
// in a goroutine of its own, loading not beside appending.
type decisionLog struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	cfg     *ServiceConfig
	name    string // of the stream
	subject string
	stream  jetstream.Stream

	known position // the furthest this process has seen, in the log it serves
	doubt doubt    // about the append that does not settle
}

// position is a message of a log. The hash of the message covers all before it.
type position struct {
	log  uint64
	seq  uint64
	hash coordinator.Hash
}

func newDecisionLog(nc *nats.Conn, cfg *ServiceConfig) (*decisionLog, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(appendTimeout))
	if err != nil {
		return nil, fmt.Errorf("open decision log: %w", err)
	}
	l := &decisionLog{nc: nc, js: js, cfg: cfg, name: streamName, subject: logSubject}
	if p := cfg.Coordinator.Partition; p != 0 {
		l.name, l.subject = fmt.Sprintf("%s_%d", streamName, p), fmt.Sprintf("%s.%d", logSubject, p)
	}
	return l, nil
}

// info asks the server that leads the stream how it stands. A question whose
// answer is lost, because the lead changes meanwhile, ends after apiTimeout and
// not with ctx.
func (l *decisionLog) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return l.stream.Info(ctx)
}

// find looks a stream up, under the same limit.
func (l *decisionLog) find(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return l.js.Stream(ctx, name)
}

// make creates a stream, which takes an election.
func (l *decisionLog) make(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	return l.js.CreateStream(ctx, cfg)
}

// saw remembers a message that is in the log for certain; p.log zero is the same
// log as before.
func (l *decisionLog) saw(p position) {
	if p.seq <= l.known.seq {
		return
	}
	if p.log == 0 {
		p.log = l.known.log
	}
	l.known = p
}

// purge forgets the messages 1 to upTo (rule G3). It may be repeated, and when
// it fails the log is merely longer.
func (l *decisionLog) purge(ctx context.Context, upTo uint64) error {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence(upTo+1)); err != nil {
		return fmt.Errorf("purge decision log up to %d: %w", upTo, err)
	}
	return nil
}

// node names the server that leads the stream, which is the one that reads come
// from; empty when nobody tells.
func (l *decisionLog) node(ctx context.Context) string {
	info, err := l.info(ctx)
	if err != nil {
		return ""
	}
	return l.leaderOf(info)
}

func (l *decisionLog) leaderOf(info *jetstream.StreamInfo) string {
	if info.Cluster == nil { // a single server
		return l.nc.ConnectedServerName()
	}
	return info.Cluster.Leader
}

func (l *decisionLog) logger() *slog.Logger { return l.cfg.Logger.With("stream", l.name) }
