package natsbus

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// readyTime bounds the start of the embedded server when ctx does not.
const readyTime = 30 * time.Second

// urlFile tells other processes of this machine how to join.
const urlFile = "url"

// ErrInUse is returned by Embedded when another process, or another Bus of this
// one, has the directory open.
var ErrInUse = errors.New("natsbus: directory is in use by another coordinator")

// EmbeddedOption changes one call of Embedded.
type EmbeddedOption func(*embeddedOptions)

type embeddedOptions struct {
	listen  string
	streams int64
	service ServiceConfig
	client  Config
}

// Listen lets other processes of this machine join through a loopback address,
// "127.0.0.1:0" for any free port. Bus.URL tells them how, and so does the file
// named url in the directory, which only the own user can read. The password in
// it stays. With a port that stays, too, the others find the next start of this
// Bus by themselves, and transactions that were open at Close go on in it.
func Listen(addr string) EmbeddedOption { return func(o *embeddedOptions) { o.listen = addr } }

// WithCoordinator sets limits and times of the coordinator.
func WithCoordinator(c coordinator.Config) EmbeddedOption {
	return func(o *embeddedOptions) { o.service.Coordinator = c }
}

// WithClient sets the times and limits of the client; its URL and Options are
// not used.
func WithClient(c Config) EmbeddedOption { return func(o *embeddedOptions) { o.client = c } }

// WithLogger sets the logger of coordinator and client.
func WithLogger(l *slog.Logger) EmbeddedOption {
	return func(o *embeddedOptions) { o.service.Logger, o.client.Logger = l, l }
}

// WithMaxBytes bounds the decision log when it is created, default 8 GiB.
func WithMaxBytes(n int64) EmbeddedOption {
	return func(o *embeddedOptions) { o.service.MaxBytes = n }
}

// WithStreamBytes bounds what the streams behind Bus.Conn hold together, default 8 GiB, and
// at most half of what the log leaves of the disk.
func WithStreamBytes(n int64) EmbeddedOption { return func(o *embeddedOptions) { o.streams = n } }

// host is what an embedded Bus runs beside its client.
type host struct {
	srv  *server.Server
	svc  *Service
	lock *os.File
	url  string
	room int64 // bytes that all streams may hold
	own  ownStreams
}

// Embedded runs a NATS server with JetStream, a coordinator and a client of it
// in this process. dir, made if it is missing, holds the decision log and
// belongs to one process at a time: ErrInUse otherwise. A directory that a
// killed process left behind is fine: what it had committed is committed, the
// rest is aborted. ctx bounds the start only; Close ends everything.
func Embedded(ctx context.Context, dir string, opts ...EmbeddedOption) (*Bus, error) {
	var o embeddedOptions
	for _, opt := range opts {
		opt(&o)
	}
	b, err := embed(ctx, dir, &o)
	if err != nil {
		return nil, fmt.Errorf("start embedded coordinator in %s: %w", dir, err)
	}
	return b, nil
}

func embed(ctx context.Context, dir string, o *embeddedOptions) (_ *Bus, err error) {
	if dir == "" {
		return nil, errors.New("the directory is empty")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &host{}
	defer func() {
		if err != nil {
			h.stop()
		}
	}()
	if h.lock, err = lockFile(filepath.Join(dir, "LOCK")); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	core := &server.User{Username: "core", Password: crand.Text()}
	app := &server.User{Username: "app", Password: savedPassword(dir), Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{svcPrefix + ">", canPrefix + ">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{evtPrefix + ">", canPrefix + ">", "_INBOX.>"}},
	}}
	h.own.user = &server.User{Username: "own", Password: crand.Text(), Account: server.NewAccount(ownAccount)}
	h.own.bytes, h.own.log = o.streams, o.client.Logger
	if err := h.start(ctx, dir, o.listen, core, app); err != nil {
		return nil, err
	}
	in := func(u *server.User) []nats.Option {
		return []nats.Option{nats.InProcessServer(h.srv), nats.UserInfo(u.Username, u.Password)}
	}
	cfg := o.service.withDefaults()
	cfg.eager, cfg.AssumeSyncAlways = true, true // the lock says so, and start has looked
	// Without Listen all who could end a transaction end with this Bus, and rows
	// that wait for its deadline after the next start would wait in vain. With it
	// the others go on, find the same address and password again, and must not
	// notice.
	cfg.abandon = o.listen == ""
	// Its inboxes are out of the sight of others: they get what is in the log.
	nc, err := dial("", cfg.Logger, append(in(core), nats.CustomInboxPrefix("_CORE"))...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded server: %w", err)
	}
	if h.svc, err = serveOn(ctx, nc, cfg); err != nil {
		nc.Close()
		return nil, err
	}
	o.client.URL, o.client.Options = "", in(app)
	b, err := connect(o.client.withDefaults())
	if err != nil {
		return nil, err
	}
	b.host = h
	return b, nil
}

// start runs the server. Listening or not, every user needs its password, and
// only the coordinator may touch the log.
func (h *host) start(ctx context.Context, dir, listen string, users ...*server.User) error {
	so := &server.Options{
		ServerName: "gtx", JetStream: true, StoreDir: dir, SyncAlways: true,
		DontListen: listen == "", NoSigs: true, NoLog: true,
		Users: append([]*server.User{h.own.user}, users...), Accounts: []*server.Account{h.own.user.Account},
	}
	if listen != "" {
		hostname, port, err := net.SplitHostPort(listen)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		if ip := net.ParseIP(hostname); ip == nil || !ip.IsLoopback() {
			return fmt.Errorf("listen on %s: only a loopback address is allowed, run a server and natsbus.Serve for a network", listen)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		so.Host, so.Port = hostname, int(n)
		if n == 0 {
			so.Port = server.RANDOM_PORT
		}
	}
	var err error
	if h.room, err = roomFor(dir); err != nil {
		return fmt.Errorf("start embedded server: %w", err)
	}
	so.JetStreamMaxStore = h.room
	srv, err := server.NewServer(so)
	if err != nil {
		return fmt.Errorf("start embedded server: %w", err)
	}
	h.srv = srv
	go srv.Start()
	wait := readyTime
	if at, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(at))
	}
	if !srv.ReadyForConnections(wait) {
		return fmt.Errorf("start embedded server: not ready after %v: %w", wait, gtx.ErrUnavailable)
	}
	if js := srv.JetStreamConfig(); js == nil || !js.SyncAlways {
		return errors.New("start embedded server: JetStream is not running with SyncAlways")
	}
	// With accounts configured none has streams by itself.
	if err := enableStreams(srv.GlobalAccount(), nil); err != nil {
		return fmt.Errorf("start embedded server: %w", err)
	}
	if listen == "" {
		return nil
	}
	u, err := url.Parse(srv.ClientURL())
	if err != nil {
		return fmt.Errorf("read server address: %w", err)
	}
	app := users[len(users)-1]
	u.User = url.UserPassword(app.Username, app.Password)
	h.url = u.String()
	return saveURL(dir, h.url)
}

// savedPassword gives the password that other processes know, or a new one.
func savedPassword(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, urlFile))
	if err == nil {
		if u, err := url.Parse(strings.TrimSpace(string(text))); err == nil {
			if p, ok := u.User.Password(); ok && p != "" {
				return p
			}
		}
	}
	return crand.Text()
}

// saveURL is all or nothing: a process may read while this one starts.
func saveURL(dir, text string) error {
	name := filepath.Join(dir, urlFile)
	if err := os.WriteFile(name+".new", []byte(text+"\n"), 0o600); err != nil {
		return fmt.Errorf("write address for other processes: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write address for other processes: %w", err)
	}
	return nil
}

// stop ends what runs, in the order that lets each finish its work.
func (h *host) stop() {
	h.own.close()
	if h.svc != nil {
		h.svc.Stop()
	}
	if h.srv != nil {
		h.srv.Shutdown()
		h.srv.WaitForShutdown()
	}
	if h.lock != nil {
		h.lock.Close()
	}
}

// URL is where other processes of this machine join with Connect. It holds a
// password: hand it over, do not log it. Empty without Listen, and for a Bus of
// Connect.
func (b *Bus) URL() string {
	if b.host == nil {
		return ""
	}
	return b.host.url
}
