package tcc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/natsbus"
)

var bareQuiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func bareContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func bareBus(t testing.TB, dir string) *natsbus.Bus {
	t.Helper()
	b, err := natsbus.Embedded(bareContext(t), dir, natsbus.Listen("127.0.0.1:0"), natsbus.WithLogger(bareQuiet),
		natsbus.WithCoordinator(coordinator.Config{PushMin: 50 * time.Millisecond, DoneDelay: time.Millisecond, StallAfter: time.Minute}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// bareGuest is the Bus of another process.
func bareGuest(t testing.TB, host *natsbus.Bus) *natsbus.Bus {
	t.Helper()
	b, err := natsbus.Connect(bareContext(t), natsbus.Config{URL: host.URL(), Logger: bareQuiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// far is another system, which knows calls by their key, and what was asked of it.
type far struct {
	// mu protects the following.
	mu   sync.Mutex
	seen map[guardKey][]string
	more chan struct{} // closed and replaced by each call
}

func newFar() *far { return &far{seen: map[guardKey][]string{}, more: make(chan struct{})} }

func (f *far) note(ctx context.Context, what string) {
	c, _ := FromContext(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	k := guardKey{c.XID, c.Branch}
	if c.MaybeEmpty {
		what += "?"
	}
	f.seen[k] = append(f.seen[k], what)
	close(f.more)
	f.more = make(chan struct{})
}

func (f *far) of(xid gtx.XID) (all []string, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, calls := range f.seen {
		if k.xid == xid {
			all = append(all, calls...)
		}
	}
	return all, f.more
}

// wait returns when the calls about xid are as wanted.
func (f *far) wait(t testing.TB, xid gtx.XID, want ...string) {
	t.Helper()
	ctx := bareContext(t)
	for {
		got, more := f.of(xid)
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("calls %q, want %q", got, want)
		}
	}
}

// mail is an action without a database. on, where set, comes before what is noted.
type mail struct {
	far *far
	on  func(ctx context.Context, what, args string) error
}

func (m *mail) do(ctx context.Context, tx Tx, what, args string) error {
	if tx != nil {
		panic("a local transaction without a database")
	}
	if m.on != nil {
		if err := m.on(ctx, what, args); err != nil {
			return err
		}
	}
	m.far.note(ctx, what)
	return nil
}

func (m *mail) Try(ctx context.Context, tx Tx, args string) error { return m.do(ctx, tx, "try", args) }

func (m *mail) Confirm(ctx context.Context, tx Tx, args string) error {
	return m.do(ctx, tx, "confirm", args)
}

func (m *mail) Cancel(ctx context.Context, tx Tx, args string) error {
	return m.do(ctx, tx, "cancel", args)
}

func bareResource(t testing.TB, c gtx.Coordinator, edit ...func(*Config)) *Resource {
	t.Helper()
	cfg := Config{Coordinator: c, Logger: bareQuiet, ScanInterval: 100 * time.Millisecond}
	for _, e := range edit {
		e(&cfg)
	}
	r, err := Bare(bareContext(t), "mail", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func bareAction(t testing.TB, r *Resource, m *mail) *Handle[string] {
	t.Helper()
	h, err := Register(r, "mail", m)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// bareRun runs one Try in a transaction, and then what fn does.
func bareRun(t testing.TB, c gtx.Coordinator, h *Handle[string], fn func(error) error, opts ...gtx.Option) (xid gtx.XID, err error) {
	t.Helper()
	err = gtx.Run(bareContext(t), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		xid = tx.XID()
		return fn(h.Try(ctx, "<a> & b"))
	}, append([]gtx.Option{gtx.WithCoordinator(c)}, opts...)...)
	return xid, err
}

// held stands still until hold is closed, or the Resource.
func held(ctx context.Context, hold <-chan struct{}) {
	select {
	case <-hold:
	case <-ctx.Done():
	}
}

func same1(err error) error { return err }

// bareClean waits until nothing is left of any action.
func bareClean(t testing.TB, b *natsbus.Bus) {
	t.Helper()
	ctx := bareContext(t)
	if err := b.Idle(ctx); err != nil {
		t.Error(err)
	}
	for {
		all, err := b.Guards(ctx, BareID("mail"), gtx.XID{})
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 {
			return
		}
		if !sleep(ctx, 10*time.Millisecond) {
			t.Fatalf("%d guards are left: %s", len(all), all[0].Body)
		}
	}
}

var errBare = errors.New("no")

// TestY1Bare: what is called after each end of a Try and of its transaction.
func TestY1Bare(t *testing.T) {
	for name, tt := range map[string]struct {
		on   func(ctx context.Context, what, args string) error
		fn   func(error) error
		err  error
		want []string
	}{
		"commit":           {nil, same1, nil, []string{"try", "confirm"}},
		"abort":            {nil, func(error) error { return errBare }, errBare, []string{"try", "cancel"}},
		"try fails, abort": {failing("try"), same1, errBare, []string{"cancel?"}},
		"try fails, commit": {failing("try"), func(err error) error {
			if !errors.Is(err, errBare) {
				t.Errorf("try: %v", err)
			}
			return nil
		}, nil, []string{"cancel?"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, f := bareBus(t, t.TempDir()), newFar()
			h := bareAction(t, bareResource(t, b), &mail{f, tt.on})
			xid, err := bareRun(t, b, h, tt.fn)
			if !errors.Is(err, tt.err) {
				t.Errorf("run: %v", err)
			}
			f.wait(t, xid, tt.want...)
			bareClean(t, b)
			f.wait(t, xid, tt.want...)
		})
	}
}

func failing(where string) func(ctx context.Context, what, args string) error {
	return func(_ context.Context, what, args string) error {
		if args != "<a> & b" {
			panic("arguments " + args)
		}
		if what == where {
			return errBare
		}
		return nil
	}
}

// TestBarePanicOfTry: the panic goes on, and what was done before it is cancelled.
func TestBarePanicOfTry(t *testing.T) {
	b, f := bareBus(t, t.TempDir()), newFar()
	h := bareAction(t, bareResource(t, b), &mail{f, func(_ context.Context, what, _ string) error {
		if what == "try" {
			panic("oh")
		}
		return nil
	}})
	var xid gtx.XID
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_ = gtx.Run(bareContext(t), func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			xid = tx.XID()
			return h.Try(ctx, "x")
		}, gtx.WithCoordinator(b))
	}()
	f.wait(t, xid, "cancel?")
	bareClean(t, b)
}

// TestBareOtherProcessEnds: the process that has tried is gone, another one confirms, and a
// restart of the coordinator lies between.
func TestBareOtherProcessEnds(t *testing.T) {
	dir, f := t.TempDir(), newFar()
	b := bareBus(t, dir)
	r := bareResource(t, b)
	h := bareAction(t, r, &mail{f, failing("confirm")})
	xid, err := bareRun(t, b, h, same1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	b.Close()
	b = bareBus(t, dir)
	bareAction(t, bareResource(t, b), &mail{f, nil})
	f.wait(t, xid, "try", "confirm")
	bareClean(t, b)
}

// TestY2DuplicateDelivery: two processes are told many times at once, and one confirms.
func TestY2DuplicateDelivery(t *testing.T) {
	b, f := bareBus(t, t.TempDir()), newFar()
	guest := bareGuest(t, b)
	hold := make(chan struct{})
	on := func(ctx context.Context, what, _ string) error {
		if what == "confirm" {
			held(ctx, hold)
		}
		return nil
	}
	one, two := bareResource(t, b), bareResource(t, guest)
	h := bareAction(t, one, &mail{f, on})
	bareAction(t, two, &mail{f, on})
	xid, err := bareRun(t, b, h, same1)
	if err != nil {
		t.Fatal(err)
	}
	d := gtx.Resolution{XID: xid, Status: gtx.Committed}
	var all sync.WaitGroup
	for range 8 {
		for _, r := range []*Resource{one, two} {
			all.Go(func() {
				if err := r.Resolve(bareContext(t), d); err != nil && !errors.Is(err, gtx.ErrConflict) {
					t.Error(err)
				}
			})
		}
	}
	close(hold)
	all.Wait()
	f.wait(t, xid, "try", "confirm")
	bareClean(t, b)
	f.wait(t, xid, "try", "confirm")
}

// TestY2LateTry: a Try does not heed its context. Another process takes it for dead, cancels
// it, and again when it has returned.
func TestY2LateTry(t *testing.T) {
	b, f := bareBus(t, t.TempDir()), newFar()
	guest := bareGuest(t, b)
	hold := make(chan struct{})
	h := bareAction(t, bareResource(t, b), &mail{f, func(_ context.Context, what, _ string) error {
		if what == "try" {
			<-hold
		}
		return nil
	}})
	bareAction(t, bareResource(t, guest, func(c *Config) {
		c.now = func() time.Time { return time.Now().Add(time.Hour) }
	}), &mail{f, nil})
	ended := make(chan error)
	var xid gtx.XID
	go func() {
		ended <- gtx.Run(bareContext(t), func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			xid = tx.XID()
			return h.Try(ctx, "x")
		}, gtx.WithCoordinator(b), gtx.WithTimeout(2*time.Second))
	}()
	for {
		_, more := f.of(gtx.XID{})
		f.mu.Lock()
		n := len(f.seen)
		f.mu.Unlock()
		if n > 0 {
			break
		}
		select {
		case <-more:
		case <-bareContext(t).Done():
			t.Fatal("the try was not taken for dead")
		}
	}
	close(hold)
	if err := <-ended; !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("run: %v", err)
	}
	f.wait(t, xid, "cancel?", "try", "cancel?")
	bareClean(t, b)
}

// TestY2LeaseIsTakenOver: a process stands still in Confirm. When its lease is over another
// one confirms, and the first changes nothing any more.
func TestY2LeaseIsTakenOver(t *testing.T) {
	b, f := bareBus(t, t.TempDir()), newFar()
	guest := bareGuest(t, b)
	hold, in := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h := bareAction(t, bareResource(t, b), &mail{f, func(ctx context.Context, what, _ string) error {
		if what == "confirm" {
			once.Do(func() { close(in) })
			held(ctx, hold)
		}
		return nil
	}})
	xid, err := bareRun(t, b, h, same1)
	if err != nil {
		t.Fatal(err)
	}
	<-in
	d := gtx.Resolution{XID: xid, Status: gtx.Committed}
	early := bareResource(t, guest)
	bareAction(t, early, &mail{f, nil})
	if err := early.Resolve(bareContext(t), d); !errors.Is(err, gtx.ErrConflict) {
		t.Errorf("resolve beside the lease: %v", err)
	}
	f.wait(t, xid, "try")
	early.Close()
	// Its opinion of the decision does not count any more: what was claimed is done.
	d.Status = gtx.Aborted
	later := bareResource(t, guest, func(c *Config) {
		c.now = func() time.Time { return time.Now().Add(leaseTime + time.Second) }
		c.ScanInterval = time.Hour
	})
	bareAction(t, later, &mail{f, nil})
	if err := later.Resolve(bareContext(t), d); err != nil && !errors.Is(err, gtx.ErrConflict) {
		t.Error(err)
	}
	f.wait(t, xid, "try", "confirm")
	close(hold)
	f.wait(t, xid, "try", "confirm", "confirm")
	bareClean(t, b)
}

// TestBareStuckAndUnknown: an action that nobody has waits, one that fails is shown and tried
// on, and neither holds up the other.
func TestBareStuckAndUnknown(t *testing.T) {
	b, f := bareBus(t, t.TempDir()), newFar()
	fails, enough := 0, make(chan struct{})
	m := &mail{f, func(ctx context.Context, what, _ string) error {
		if what != "confirm" {
			return nil
		}
		if fails++; fails == 3 {
			held(ctx, enough)
		}
		if fails < 3 {
			return errBare
		}
		return nil
	}}
	r := bareResource(t, b, func(c *Config) { c.StuckAfter = 2 })
	h := bareAction(t, r, m)
	gone := bareResource(t, bareGuest(t, b))
	unknown, err := Register(gone, "unknown", &mail{f, nil})
	if err != nil {
		t.Fatal(err)
	}
	var xid gtx.XID
	err = gtx.Run(bareContext(t), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		xid = tx.XID()
		err := errors.Join(h.Try(ctx, "x"), unknown.Try(ctx, "y"))
		gone.Close() // before phase two
		return err
	}, gtx.WithCoordinator(b))
	if err != nil {
		t.Fatal(err)
	}
	ctx := bareContext(t)
	for r.Stats().Stuck != 1 {
		if !sleep(ctx, 10*time.Millisecond) {
			t.Fatalf("%+v", r.Stats())
		}
	}
	if err := r.Resolve(ctx, gtx.Resolution{XID: xid, Status: gtx.Committed}); err == nil {
		t.Error("resolve says that nothing is left")
	}
	close(enough)
	f.waitConfirms(t, xid, 1)
	last := bareResource(t, bareGuest(t, b))
	if _, err := Register(last, "unknown", &mail{f, nil}); err != nil {
		t.Fatal(err)
	}
	f.waitConfirms(t, xid, 2)
	bareClean(t, b)
}

// waitConfirms waits for so many confirms in all.
func (f *far) waitConfirms(t testing.TB, xid gtx.XID, want int) {
	t.Helper()
	ctx := bareContext(t)
	for {
		got, more := f.of(xid)
		if strings.Count(strings.Join(got, " "), "confirm") == want {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("calls %q, want %d confirms", got, want)
		}
	}
}

func TestBareNames(t *testing.T) {
	for _, name := range []string{"", "a b", "a-tcc", "*", ">", strings.Repeat("a", 101)} {
		if _, err := Bare(bareContext(t), name, Config{}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if _, err := Bare(bareContext(t), "a", Config{Coordinator: struct{ gtx.Coordinator }{}}); err == nil || !strings.Contains(err.Error(), "keeps no guards") {
		t.Errorf("a coordinator without guards: %v", err)
	}
}

// TestBareOperator: what is left is listed, and can be dropped unless somebody is at it. A
// process that does not know the action takes it from nobody.
func TestBareOperator(t *testing.T) {
	b, f, ctx := bareBus(t, t.TempDir()), newFar(), bareContext(t)
	in, hold := make(chan struct{}), make(chan struct{})
	r := bareResource(t, b)
	h := bareAction(t, r, &mail{f, func(ctx context.Context, what, _ string) error {
		if what == "try" {
			return nil
		}
		in <- struct{}{}
		held(ctx, hold)
		return errBare
	}})
	xid, err := bareRun(t, b, h, func(error) error {
		all, err := ListBare(ctx, b, "mail")
		if err != nil || len(all) != 1 || all[0].State != stateTried || all[0].Name != "mail" || string(all[0].Args) != `"<a> & b"` {
			t.Errorf("guards %+v, %v", all, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-in // the first try of Confirm
	all, err := ListBare(ctx, b, "")
	if err != nil || len(all) != 1 || all[0].State != stateConfirming {
		t.Fatalf("guards %+v, %v", all, err)
	}
	stranger := bareResource(t, bareGuest(t, b), func(c *Config) {
		c.now = func() time.Time { return time.Now().Add(leaseTime - 5*time.Second) } // old enough to be told
		c.ScanInterval = time.Hour
	})
	if _, err := Register(stranger, "other", &mail{f, nil}); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Resolve(ctx, gtx.Resolution{XID: xid, Status: gtx.Committed}); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("resolve by a stranger: %v", err)
	}
	if err := DropBare(ctx, b, "mail", xid, all[0].Branch); !errors.Is(err, gtx.ErrConflict) {
		t.Errorf("drop what runs: %v", err)
	}
	close(hold)
	<-in // the second, so the first was noted
	again, err := ListBare(ctx, b, "mail")
	if err != nil || len(again) != 1 || again[0].Tries < 1 || !strings.Contains(again[0].Reason, errBare.Error()) {
		t.Fatalf("guards %+v, %v", again, err)
	}
	go func() {
		for range in { // those that come
		}
	}()
	r.Close()
	stranger.Close()
	close(in)
	for {
		if err = DropBare(ctx, b, "mail", xid, all[0].Branch); !errors.Is(err, gtx.ErrConflict) || !sleep(ctx, 100*time.Millisecond) {
			break
		}
	}
	if err != nil {
		t.Errorf("drop: %v", err)
	}
	if err := DropBare(ctx, b, "mail", xid, all[0].Branch); !errors.Is(err, ErrNothing) {
		t.Errorf("drop again: %v", err)
	}
}
