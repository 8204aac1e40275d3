package chaos

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// broken is the action with a fault in one of its parts.
type broken struct {
	hold
	confirm, cancel func(h hold, ctx context.Context, tx tcc.Tx, a held) error
}

func (b broken) Confirm(ctx context.Context, tx tcc.Tx, a held) error {
	return b.confirm(b.hold, ctx, tx, a)
}

func (b broken) Cancel(ctx context.Context, tx tcc.Tx, a held) error {
	return b.cancel(b.hold, ctx, tx, a)
}

func twice(part func(hold, context.Context, tcc.Tx, held) error) func(hold, context.Context, tcc.Tx, held) error {
	return func(h hold, ctx context.Context, tx tcc.Tx, a held) error {
		return errors.Join(part(h, ctx, tx, a), part(h, ctx, tx, a))
	}
}

func never(hold, context.Context, tcc.Tx, held) error { return nil }

// TestHoldsFinds: the judge of the chaos run sees each fault of an action that it is there
// for, in a database where real transactions were ended by the faulty action.
func TestHoldsFinds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	bus, err := natsbus.Embedded(ctx, t.TempDir(), natsbus.WithLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	type part = func(hold, context.Context, tcc.Tx, held) error
	cases := map[string]struct {
		confirm, cancel part
		want            []string
	}{
		"nothing wrong":     {hold.Confirm, hold.Cancel, nil},
		"confirmed twice":   {twice(hold.Confirm), hold.Cancel, []string{"which is committed: 2 times confirmed, 0 cancelled", "pot 1 has"}},
		"never confirmed":   {never, hold.Cancel, []string{"which is committed: 0 times confirmed, 0 cancelled", "pot 1 has"}},
		"cancelled instead": {hold.Cancel, hold.Cancel, []string{"which is committed: 0 times confirmed, 1 cancelled"}},
		"cancelled twice":   {hold.Confirm, twice(hold.Cancel), []string{"which is aborted: 0 times confirmed, 2 cancelled", "pot 2 has"}},
		"never cancelled":   {hold.Confirm, never, []string{"which is aborted: 0 times confirmed, 0 cancelled", "pot 2 has"}},
		"confirmed instead": {hold.Confirm, hold.Confirm, []string{"which is aborted: 1 times confirmed, 0 cancelled"}},
		"both": {func(h hold, ctx context.Context, tx tcc.Tx, a held) error {
			return errors.Join(h.Confirm(ctx, tx, a), h.Cancel(ctx, tx, a))
		}, hold.Cancel, []string{"which is committed: 1 times confirmed, 1 cancelled"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			db, err := database{"sqlite", "file:" + filepath.Join(t.TempDir(), "holds.db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)"}.open(true, 4)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			if err := createHolds(ctx, db); err != nil {
				t.Fatal(err)
			}
			res, err := tcc.Open(ctx, db, tcc.Config{Coordinator: bus, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { res.Close() })
			handle, err := tcc.Register(res, "hold", broken{hold{dialects["sqlite"]}, tc.confirm, tc.cancel})
			if err != nil {
				t.Fatal(err)
			}
			h, fates := &history{tries: map[string][]string{}}, map[string]string{}
			for i, fail := range []error{nil, errors.New("no")} {
				err := gtx.Run(ctx, func(ctx context.Context) error {
					tx, _ := gtx.FromContext(ctx)
					id := "t" + holdMark + []string{"1", "2"}[i]
					h.tries[id] = append(h.tries[id], tx.XID().String())
					fates[tx.XID().String()] = []string{gtx.Committed.String(), gtx.Aborted.String()}[i]
					return errors.Join(handle.Try(ctx, held{i + 1, 5}), fail)
				}, gtx.WithCoordinator(bus))
				if !errors.Is(err, fail) {
					t.Fatal(err)
				}
			}
			w := &world{stores: []*store{{name: "holds", admin: db}}}
			rows, bad, err := w.awaitHolds(ctx)
			if err != nil {
				t.Fatal(err)
			}
			more, _, _ := checkHolds(h, func(xid string) string { return fates[xid] }, rows)
			wantFound(t, append(bad, more...), tc.want)
		})
	}
}

// wantFound holds that each is found, and nothing where nothing is wanted.
func wantFound(t *testing.T, bad, want []string) {
	t.Helper()
	got := strings.Join(bad, "\n")
	if len(want) == 0 && got != "" {
		t.Errorf("found %s", got)
	}
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("found %q, want %q", got, w)
		}
	}
}

// TestCheckHoldsFinds: what no action does by itself.
func TestCheckHoldsFinds(t *testing.T) {
	fate := func(xid string) string { return map[byte]string{'c': "committed", 'a': "aborted"}[xid[0]] }
	tries := map[string][]string{"t.h1": {"a1", "c1"}, "t.h2": {"a2"}, "t.3": {"c3"}}
	c1, a2 := holdRow{"c1", 1, 5, 1, 0}, holdRow{"a2", 1, 5, 0, 1}
	for name, tc := range map[string]struct {
		rows []holdRow
		want []string
	}{
		"nothing wrong":           {[]holdRow{c1, a2, {"a1", 1, 5, 0, 1}}, nil},
		"aborted before its try":  {[]holdRow{c1}, nil},
		"committed without hold":  {[]holdRow{a2}, []string{"transfer t.h1 is committed as c1, and there is no hold"}},
		"two of one transaction":  {[]holdRow{c1, c1}, []string{"another of it: true"}},
		"a hold that nobody made": {[]holdRow{c1, {"a9", 1, 5, 0, 1}}, []string{"tried: false"}},
	} {
		t.Run(name, func(t *testing.T) {
			bad, _, _ := checkHolds(&history{tries: tries}, fate, tc.rows)
			wantFound(t, bad, tc.want)
		})
	}
	whole := ledger{pots: map[int][3]int64{}}
	for id := 1; id <= pots; id++ {
		whole.pots[id] = [3]int64{potMoney, 0, 0}
	}
	for name, tc := range map[string]struct {
		do   func(*ledger)
		want []string
	}{
		"nothing wrong": {func(*ledger) {}, nil},
		"guards":        {func(l *ledger) { l.guards = 2 }, []string{"2 guard rows are left"}},
		"on hold":       {func(l *ledger) { l.pots[1] = [3]int64{potMoney - 5, 5, 0} }, []string{"pot 1 has free, held and spent [999995 5 0]"}},
		"a pot is lost": {func(l *ledger) { delete(l.pots, 2) }, []string{"pot 2 has"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := ledger{pots: map[int][3]int64{}}
			for id, p := range whole.pots {
				l.pots[id] = p
			}
			tc.do(&l)
			wantFound(t, l.check("db"), tc.want)
		})
	}
}

// TestCheckCallsFinds: what must not become of calls without a database.
func TestCheckCallsFinds(t *testing.T) {
	fate := func(xid string) string { return map[byte]string{'c': "committed", 'a': "aborted"}[xid[0]] }
	h := &history{tries: map[string][]string{"t.hc1": {"a1", "c1"}, "t.hc2": {"a2"}, "t.h3": {"c3"}}}
	c1 := callRow{"c1", 1, 1, 0}
	for name, tc := range map[string]struct {
		rows []callRow
		want []string
	}{
		"nothing wrong":               {[]callRow{c1, {"a1", 1, 0, 1}, {"a2", 0, 0, 1}}, nil},
		"repeated":                    {[]callRow{{"c1", 1, 3, 0}, {"a2", 1, 0, 2}}, nil},
		"never confirmed":             {[]callRow{{"c1", 1, 0, 0}}, []string{"call of c1, which is committed: 1 times tried, 0 confirmed"}},
		"confirmed and cancelled":     {[]callRow{{"c1", 1, 1, 1}}, []string{"call of c1, which is committed"}},
		"cancelled, though committed": {[]callRow{{"c1", 1, 0, 1}}, []string{"call of c1, which is committed"}},
		"confirmed, though aborted":   {[]callRow{c1, {"a2", 1, 1, 0}}, []string{"call of a2, which is aborted"}},
		"tried and not cancelled":     {[]callRow{c1, {"a2", 1, 0, 0}}, []string{"call of a2, which is aborted"}},
		"lost":                        {nil, []string{"transfer t.hc1 is committed as c1, and there is no call"}},
		"nobody's":                    {[]callRow{c1, {"a9", 0, 0, 1}}, []string{"known: false"}},
	} {
		t.Run(name, func(t *testing.T) {
			bad, _, _ := checkCalls(h, fate, tc.rows)
			wantFound(t, bad, tc.want)
		})
	}
}
