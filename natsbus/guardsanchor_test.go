package natsbus_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// logged collects what a logger writes. Safe for concurrent use.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// wantRefused holds that nobody hears that there are no guards, nor keeps a new one, and
// that who reads the error knows what to do.
func wantRefused(t testing.TB, b *natsbus.Bus, want ...string) {
	t.Helper()
	ctx := testContext(t)
	xid := newGuard(guardResource, "").XID
	_, one := b.Guards(ctx, guardResource, xid)
	_, all := b.Guards(ctx, guardResource, gtx.XID{})
	_, create := b.CreateGuard(ctx, newGuard(guardResource, "new"))
	for call, err := range map[string]error{"list of one": one, "list of all": all, "create": create} {
		if !errors.Is(err, gtx.ErrUnavailable) {
			t.Errorf("%s: %v", call, err)
			continue
		}
		for _, w := range append(want, "GTX_GUARD", "delete stream GTX_GUARD_ANCHOR") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q says nothing of %q", call, err, w)
			}
		}
	}
}

// storeOf gives the directory of a stream of an embedded coordinator.
func storeOf(dir, stream string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", stream)
}

// TestY3LostGuardsEmbedded: the directory of the guards is lost between two starts, or an
// older one is put in its place. What is put back is served, and giving it up is a step
// of its own.
func TestY3LostGuardsEmbedded(t *testing.T) {
	dir, old, whole := t.TempDir(), t.TempDir(), t.TempDir()
	store, mark := storeOf(dir, "GTX_GUARD"), storeOf(dir, "GTX_GUARD_ANCHOR")
	put := func(from string) {
		t.Helper()
		if err := os.RemoveAll(store); err != nil {
			t.Fatal(err)
		}
		if from == "" {
			return
		}
		if err := os.CopyFS(store, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	copyTo := func(to string) {
		t.Helper()
		if err := os.CopyFS(to, os.DirFS(store)); err != nil {
			t.Fatal(err)
		}
	}
	b := embedded(t, dir)
	first := createGuard(t, b, newGuard(guardResource, "first"))
	b.Close()
	copyTo(old)
	b = embedded(t, dir)
	second := createGuard(t, b, newGuard(guardResource, "second"))
	b.Close()
	copyTo(whole)

	for name, from := range map[string]string{"deleted": "", "older": old} {
		put(from)
		var log logged
		b = embedded(t, dir, natsbus.WithLogger(log.logger()))
		wantRefused(t, b)
		b.Close()
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "GTX_GUARD_ANCHOR") {
			t.Errorf("%s: logged %s", name, log.String())
		}
	}
	put(whole)
	b = embedded(t, dir)
	wantGuards(t, b, guardResource, first.XID, first, second)
	b.Close()

	put("")
	if err := os.RemoveAll(mark); err != nil {
		t.Fatal(err)
	}
	b = embedded(t, dir)
	wantGuards(t, b, guardResource, first.XID)
	third := createGuard(t, b, newGuard(guardResource, "third"))
	b.Close()
	b = embedded(t, dir)
	wantGuards(t, b, guardResource, first.XID, third)
}

// TestY3LostGuardsServer: the same at servers of their own, where people have tools.
func TestY3LostGuardsServer(t *testing.T) {
	settings := jetstream.StreamConfig{
		Name: "GTX_GUARD", Subjects: []string{"gtx.guard.>"}, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DenyDelete: true,
	}
	for name, lose := range map[string]func(t *testing.T, js jetstream.JetStream){
		"deleted": func(t *testing.T, js jetstream.JetStream) {
			if err := js.DeleteStream(testContext(t), "GTX_GUARD"); err != nil {
				t.Fatal(err)
			}
		},
		"another": func(t *testing.T, js jetstream.JetStream) {
			if err := js.DeleteStream(testContext(t), "GTX_GUARD"); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(testContext(t), settings); err != nil {
				t.Fatal(err)
			}
			for range 100 { // as long as the lost one
				if _, err := js.Publish(testContext(t), "gtx.guard.mark", nil); err != nil {
					t.Fatal(err)
				}
			}
		},
		"purged": func(t *testing.T, js jetstream.JetStream) {
			s, err := js.Stream(testContext(t), "GTX_GUARD")
			if err == nil {
				err = s.Purge(testContext(t))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := natsServer(t)
			_, js := jetStream(t, url)
			s, b := service(t, url), client(t, url)
			g := createGuard(t, b, newGuard(guardResource, "kept"))
			lose(t, js)
			for { // what is known of the stream is looked at again now and then
				_, err := b.UpdateGuard(testContext(t), g)
				if errors.Is(err, gtx.ErrUnavailable) {
					break
				}
				if err != nil && !errors.Is(err, gtx.ErrGuardChanged) {
					t.Fatal(err)
				}
			}
			wantRefused(t, b, "restart the coordinators")
			s.Stop()
			s = service(t, url)
			wantRefused(t, b)
			s.Stop()

			// The operator gives them up.
			for _, stream := range []string{"GTX_GUARD", "GTX_GUARD_ANCHOR"} {
				if err := js.DeleteStream(testContext(t), stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
					t.Fatal(err)
				}
			}
			service(t, url)
			wantGuards(t, b, guardResource, g.XID)
			createGuard(t, b, newGuard(guardResource, "new"))
		})
	}
}

// TestY3GuardsOfOlderVersions: a stream that nobody has marked, with or without an identity,
// is taken as it is, once.
func TestY3GuardsOfOlderVersions(t *testing.T) {
	for name, age := range map[string]func(t *testing.T, js jetstream.JetStream){
		"never marked": func(t *testing.T, js jetstream.JetStream) {
			s, err := js.Stream(testContext(t), "GTX_GUARD")
			if err == nil {
				err = s.Purge(testContext(t), jetstream.WithPurgeSubject("gtx.guard.id"))
			}
			if err == nil {
				err = js.DeleteStream(testContext(t), "GTX_GUARD_ANCHOR")
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"died before the mark": func(t *testing.T, js jetstream.JetStream) {
			if err := js.DeleteStream(testContext(t), "GTX_GUARD_ANCHOR"); err != nil {
				t.Fatal(err)
			}
		},
		"died before the mark was written": func(t *testing.T, js jetstream.JetStream) {
			if err := js.DeleteStream(testContext(t), "GTX_GUARD_ANCHOR"); err != nil {
				t.Fatal(err)
			}
			_, err := js.CreateStream(testContext(t), jetstream.StreamConfig{
				Name: "GTX_GUARD_ANCHOR", Subjects: []string{"gtx.anchor.guard"}, MaxMsgs: 1,
			})
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := natsServer(t)
			_, js := jetStream(t, url)
			s, b := service(t, url), client(t, url)
			g := createGuard(t, b, newGuard(guardResource, "kept"))
			s.Stop()
			age(t, js)
			s = service(t, url)
			wantGuards(t, b, guardResource, g.XID, g)
			s.Stop()
			if err := js.DeleteStream(testContext(t), "GTX_GUARD"); err != nil {
				t.Fatal(err)
			}
			service(t, url)
			wantRefused(t, b)
		})
	}
}

// TestY3ManyNodesAtOnce: one identity comes of it, and every guard is kept.
func TestY3ManyNodesAtOnce(t *testing.T) {
	url := natsServer(t)
	_, js := jetStream(t, url)
	var nodes []*natsbus.Service
	for range 4 {
		nodes = append(nodes, service(t, url))
	}
	b := client(t, url)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			if _, err := b.CreateGuard(testContext(t), newGuard(gtx.ResourceID(fmt.Sprint("r", i)), "")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, n := range nodes {
		n.Stop()
	}
	for _, stream := range []string{"GTX_GUARD", "GTX_GUARD_ANCHOR"} {
		s, err := js.Stream(testContext(t), stream)
		if err != nil {
			t.Fatal(err)
		}
		subject := map[string]string{"GTX_GUARD": "gtx.guard.id", "GTX_GUARD_ANCHOR": "gtx.anchor.guard"}[stream]
		if _, err := s.GetLastMsgForSubject(testContext(t), subject); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	service(t, url)
	left, err := b.Guards(testContext(t), "", gtx.XID{})
	if err != nil || len(left) != 32 {
		t.Errorf("%d guards, %v", len(left), err)
	}
}

// TestY3AnchorIsTheCoordinators: an application cannot give guards up.
func TestY3AnchorIsTheCoordinators(t *testing.T) {
	host, ctx := embedded(t, t.TempDir(), natsbus.Listen("127.0.0.1:0")), testContext(t)
	denied := make(chan error, 10)
	nc, _ := jetStream(t, host.URL(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	for _, subject := range []string{"gtx.anchor.guard", "gtx.guard.id", "$JS.API.STREAM.DELETE.GTX_GUARD_ANCHOR"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-denied:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", subject, err)
			}
		case <-ctx.Done():
			t.Fatalf("publish to %s was allowed", subject)
		}
	}
}
