package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// minServer is the oldest NATS server whose replicated streams check an append
// against everything a former stream leader acknowledged, and that syncs a
// batch once (rule A1).
const minServer = "2.15.2"

// maxHeaders is more than the headers of an append take, in bytes.
const maxHeaders = 1024

// openLog finds or creates the stream of nc's account. It refuses servers and
// settings that could lose or hide a decision.
func openLog(ctx context.Context, nc *nats.Conn, cfg *ServiceConfig) (*decisionLog, error) {
	l, err := newDecisionLog(nc, cfg)
	if err != nil {
		return nil, err
	}
	return l, l.check(ctx)
}

// check is done before every load: servers come and go, and streams can be
// edited.
func (l *decisionLog) check(ctx context.Context) error {
	if v := l.nc.ConnectedServerVersion(); !atLeast(v, minServer) {
		return fmt.Errorf("open decision log: NATS server %s is older than %s, update it", v, minServer)
	}
	if max := l.nc.MaxPayload(); max < coordinator.MaxMessage+maxHeaders {
		return fmt.Errorf("open decision log: max_payload of NATS server %s is %d, set it to %d or more",
			l.nc.ConnectedServerName(), max, coordinator.MaxMessage+maxHeaders)
	}
	s, err := l.find(ctx, l.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = l.create(ctx)
	}
	if err != nil {
		return fmt.Errorf("open decision log: %w", err)
	}
	l.stream = s
	info := s.CachedInfo()
	if bad := unfit(&info.Config, l.subject, l.cfg.Replicas); len(bad) > 0 {
		return fmt.Errorf("open decision log: stream %s is not fit for decisions: %s (see `nats stream edit %s`; what cannot be edited needs an empty stream made anew)",
			l.name, strings.Join(bad, ", "), l.name)
	}
	peers, err := l.peers(info)
	if err != nil {
		return fmt.Errorf("open decision log: %w", err)
	}
	if err := checkSynced(ctx, l.nc, l.cfg, peers); err != nil {
		return fmt.Errorf("open decision log: %w", err)
	}
	return nil
}

// create makes an empty log, unless there was one: a log that is made again
// under the same name would know none of the decisions of the former (rule I1).
func (l *decisionLog) create(ctx context.Context) (jetstream.Stream, error) {
	last, err := l.anchor(ctx)
	if err != nil {
		return nil, err
	}
	if last.seq < l.known.seq {
		last = l.known
	}
	if last.seq > 0 {
		anchor, _ := l.anchorNames()
		return nil, &DamageError{
			Stream: l.name, Seq: last.seq, Err: fmt.Errorf("the stream is gone: %w", coordinator.ErrTruncated),
			remedy: "restore it, or delete stream " + anchor + ", too, and give all its decisions up",
		}
	}
	return l.make(ctx, jetstream.StreamConfig{
		Name:        l.name,
		Description: "decision log of globaltx",
		Subjects:    []string{l.subject},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    l.cfg.MaxBytes,
		Replicas:    l.cfg.Replicas,
		Duplicates:  100 * time.Millisecond,
		DenyDelete:  true,
	})
}

// unfit lists what must change before c can hold decisions.
func unfit(c *jetstream.StreamConfig, subject string, replicas int) (bad []string) {
	for _, rule := range []struct {
		broken bool
		want   string
	}{
		{len(c.Subjects) != 1 || c.Subjects[0] != subject, "subjects must be " + subject},
		{c.Storage != jetstream.FileStorage, "storage must be file"},
		{c.Replicas < replicas, fmt.Sprintf("num_replicas must be %d or more", replicas)},
		// Whatever removes a message by itself turns committed into unknown.
		{c.Retention != jetstream.LimitsPolicy, "retention must be limits"},
		{c.Discard != jetstream.DiscardNew, "discard must be new"},
		{c.MaxAge != 0, "max_age must be 0"},
		{c.MaxMsgs > 0, "max_msgs must be unlimited"},
		{c.MaxMsgsPerSubject > 0, "max_msgs_per_subject must be unlimited"},
		{!c.DenyDelete, "deny_delete must be on"},
		{c.AllowRollup, "allow_rollup_hdrs must be off"},
		{c.AllowMsgTTL, "allow_msg_ttl must be off"},
		// Whatever acknowledges early, or not, or reads from anywhere.
		{c.PersistMode != jetstream.DefaultPersistMode, "persist_mode must be default"},
		{c.NoAck, "no_ack must be off"},
		{c.AllowDirect, "allow_direct must be off"},
		// Whatever lets others write, or changes what is written.
		{c.Mirror != nil || len(c.Sources) > 0, "it must not be a mirror or have sources"},
		{c.SubjectTransform != nil, "subject_transform must be off"},
		{c.AllowMsgCounter, "allow_msg_counter must be off"},
		{c.RePublish != nil, "republish must be off"},
		// Whatever keeps the coordinator out.
		{c.Sealed, "it must not be sealed"},
		{c.DenyPurge, "deny_purge must be off"},
		{c.MaxMsgSize > 0 && c.MaxMsgSize < coordinator.MaxMessage+maxHeaders, "max_msg_size must be unlimited"},
	} {
		if rule.broken {
			bad = append(bad, rule.want)
		}
	}
	return bad
}

// peers names the servers that hold the stream and are there. One that is away
// or behind is worth a warning: the log stands as long as most of them do.
func (l *decisionLog) peers(info *jetstream.StreamInfo) ([]string, error) {
	names := []string{l.leaderOf(info)}
	if info.Cluster == nil {
		return names, nil
	}
	count := 1
	for _, p := range info.Cluster.Replicas {
		count++
		if p.Offline || !p.Current {
			l.logger().Warn("a replica of the decision log is not current", "server", p.Name, "offline", p.Offline, "lag", p.Lag)
		}
		if !p.Offline {
			names = append(names, p.Name)
		}
	}
	if count < l.cfg.Replicas {
		return nil, fmt.Errorf("stream %s is on %d servers, not on %d: wait until the cluster has placed it", l.name, count, l.cfg.Replicas)
	}
	return names, nil
}

// atLeast compares the first three numbers of two versions.
func atLeast(v, want string) bool {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	a, b := strings.Split(v, "."), strings.Split(want, ".")
	for i := range b {
		var x, y int
		if i < len(a) {
			x, _ = strconv.Atoi(a[i])
		}
		y, _ = strconv.Atoi(b[i])
		if x != y {
			return x > y
		}
	}
	return true
}
