package natsbus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// TestA1UnfitStreamIsRefused: every setting that could lose or hide a decision.
func TestA1UnfitStreamIsRefused(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx, nc := logContext(t), logConn(t, c.URL())
	good := testLog(t, c.URL(), 1)
	cfg := good.stream.CachedInfo().Config
	if bad := unfit(&cfg, logSubject, 1); len(bad) > 0 {
		t.Fatalf("the stream as it is made: %v", bad)
	}
	for want, spoil := range map[string]func(*jetstream.StreamConfig){
		"subjects must be gtx.log":               func(c *jetstream.StreamConfig) { c.Subjects = []string{"gtx.log", "gtx.else"} },
		"storage must be file":                   func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"retention must be limits":               func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"discard must be new":                    func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"max_age must be 0":                      func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"max_msgs must be unlimited":             func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		"max_msgs_per_subject must be unlimited": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1000 },
		"deny_delete must be on":                 func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"deny_purge must be off":                 func(c *jetstream.StreamConfig) { c.DenyPurge = true },
		"allow_rollup_hdrs must be off":          func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"allow_msg_ttl must be off":              func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
		"persist_mode must be default":           func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"no_ack must be off":                     func(c *jetstream.StreamConfig) { c.NoAck = true },
		"allow_direct must be off":               func(c *jetstream.StreamConfig) { c.AllowDirect = true },
		"republish must be off": func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: "gtx.log", Destination: "else"}
		},
		"max_msg_size must be unlimited": func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 },
		"subject_transform must be off": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "gtx.log", Destination: "else"}
		},
	} {
		t.Run(want, func(t *testing.T) {
			bad := cfg
			spoil(&bad)
			if err := good.js.DeleteStream(ctx, streamName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Fatal(err)
			}
			if _, err := good.js.CreateStream(ctx, bad); err != nil {
				t.Fatal(err)
			}
			_, err := openLog(ctx, nc, logConfig(1))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v", err)
			}
		})
	}
	t.Run("too few replicas", func(t *testing.T) {
		if got := unfit(&cfg, logSubject, 3); len(got) != 1 || got[0] != "num_replicas must be 3 or more" {
			t.Errorf("got %v", got)
		}
	})
}

// TestA1LazyServersAreRefused: the system account says which server does not
// sync; without it nobody knows, and that is not enough.
func TestA1LazyServersAreRefused(t *testing.T) {
	c := natstest.Start(t, 3, natstest.Lazy(2))
	ctx, nc := logContext(t), logConn(t, c.URL())
	try := func(change func(*ServiceConfig)) error {
		cfg := logConfig(3)
		cfg.AssumeSyncAlways = false
		change(cfg)
		_, err := openLog(ctx, nc, cfg)
		return err
	}
	for name, tc := range map[string]struct {
		change func(*ServiceConfig)
		want   string
	}{
		"neither asked nor assumed": {func(*ServiceConfig) {}, "AssumeSyncAlways"},
		"not the system account":    {func(c *ServiceConfig) { c.SystemURL = nc.ConnectedUrl() }, "not a user of the system account"},
		"one of three":              {func(c2 *ServiceConfig) { c2.SystemURL = c.SystemURL() }, "server n3 acknowledges before it has synced"},
		"the same by options": {func(c2 *ServiceConfig) {
			c2.URL, c2.System = c.URL(), []nats.Option{nats.UserInfo("sys", "sys")}
		}, "server n3 acknowledges before it has synced"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := try(tc.change); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		// The others sync, and two of three are enough to serve.
		c.Nodes()[2].Stop()
		c.Leader(streamName)
		for {
			err := try(func(c2 *ServiceConfig) { c2.SystemURL = c.SystemURL() })
			if err == nil {
				break
			}
			if !pause(ctx, 50*time.Millisecond, time.Second, 3) {
				t.Fatal(err)
			}
		}
	})
}

func TestServerVersions(t *testing.T) {
	for v, want := range map[string]bool{
		"2.15.2": true, "2.15.10": true, "2.16.0-RC.1": true, "3.0": true, "v2.15.2": true,
		"2.15.1": false, "2.9.99": false, "2.15": false, "": false, "x": false,
	} {
		if got := atLeast(v, minServer); got != want {
			t.Errorf("atLeast(%q) = %v", v, got)
		}
	}
}
