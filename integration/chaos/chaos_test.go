package chaos

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/globaltx/globaltx/internal/testserver"
)

// TestChaos runs transfers while everything fails that can, and then proves what
// docs/reliability.md promises. Without CHAOS_FOR every kind of fault comes
// once. CHAOS_SEED repeats the choice of faults, not their timing. CHAOS_DIR
// keeps history and logs, CHAOS_KINDS picks kinds by a part of their name.
// CHAOS_MODE sets the mode of all transfers, a key of modes; CHAOS_SERVERS the servers,
// by their names in internal/testserver; CHAOS_WORKERS how many transfers are under way;
// CHAOS_TRANSACTIONS has the run last until so many transactions have had a branch that
// was prepared, or committed locally, with longer pauses between the faults, one
// coordinator and one NATS server.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CHAOS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	var long time.Duration
	if s := os.Getenv("CHAOS_FOR"); s != "" {
		var err error
		if long, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CHAOS_SEED=%d", seed)
	dir := os.Getenv("CHAOS_DIR")
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "gtx-chaos-"); err != nil {
			t.Fatal(err)
		}
	}
	wanted, workers := number(t, "CHAOS_TRANSACTIONS"), number(t, "CHAOS_WORKERS")
	ctx, cancel := context.WithTimeout(t.Context(), long+25*time.Minute)
	defer cancel()
	s := sizeFor(long > 0 || wanted > 0, seed)
	if s.mode = os.Getenv("CHAOS_MODE"); s.mode != "" {
		if _, ok := modes[s.mode]; !ok {
			t.Fatalf("CHAOS_MODE=%q: want at, xa or 3pc", s.mode)
		}
	}
	if list := os.Getenv("CHAOS_SERVERS"); list != "" {
		s.servers, s.files = strings.Split(list, ","), 0
	}
	if workers > 0 { // of two applications, on each route
		s.apps, s.workers = 2, max(workers/2/(len(s.servers)+s.files), 1)
	}
	if wanted > 0 {
		s.nats, s.coordinators = 1, 1 // the disk and the cores are the databases'
	}
	w := newWorld(ctx, t, dir, seed, s)
	n := &nemesis{w: w, random: rand.New(rand.NewPCG(seed, 7)), hold: 500 * time.Millisecond, pause: 500 * time.Millisecond}
	if long > 0 {
		n.hold = time.Second
	}
	if wanted > 0 {
		n.pause = 3 * time.Second // for transactions, not for errors
	}
	began := time.Now()
	more := func() bool { return time.Since(began) < long || w.hist.tried() < wanted }
	if err := n.run(ctx, kinds(w, os.Getenv("CHAOS_KINDS")), more); err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	w.verify(ctx)
	t.Log("\n" + w.report(took))
}

// number reads an environment variable, 0 where it is not set.
func number(t *testing.T, name string) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// sizeFor gives the size of a world. Finished commits are forgotten and the log
// is trimmed early, so that both happen in the time of the run. A short one has one of
// the MySQL family, by the seed.
func sizeFor(long bool, seed uint64) size {
	s := size{
		nats: 3, coordinators: 3, apps: 2, workers: 2, files: 1,
		servers: []string{testserver.NamePostgres18, []string{testserver.NameMySQL, testserver.NameMariaDB}[seed%2]},
		trim:    16 << 10, tombstone: 10 * time.Second,
	}
	switch {
	case os.Getenv(testserver.ShortEnv) != "":
		s.servers, s.files = nil, 2
	case long:
		s.apps, s.workers, s.files = 3, 3, 0
		s.servers = testserver.Names()
		s.trim, s.tombstone = 256<<10, 30*time.Second
	}
	return s
}

// kinds gives the faults that are possible in w and have one of the parts, which
// commas separate, in their name.
func kinds(w *world, parts string) (out []fault) {
	for _, f := range faults() {
		if f.needs != nil && !f.needs(w) {
			continue
		}
		if slices.ContainsFunc(strings.Split(parts, ","), func(p string) bool { return strings.Contains(f.kind, p) }) {
			out = append(out, f)
		}
	}
	return out
}

// nemesis brings faults, one after the other.
type nemesis struct {
	w      *world
	random *rand.Rand
	hold   time.Duration // a fault lasts this long to three times this
	pause  time.Duration // from the end of one to the next
}

// run brings every kind once, in random order, and again while there is to be more,
// then now and then with a second one of another part of the system.
func (n *nemesis) run(ctx context.Context, all []fault, more func() bool) error {
	for round := 0; ; round++ {
		n.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, f := range all {
			if other := one(n.random, all); round > 0 && n.random.IntN(4) == 0 && other.part() != f.part() {
				f = both(f, other)
			}
			if err := n.bring(ctx, f); err != nil {
				return fmt.Errorf("%s: %w", f.kind, err)
			}
		}
		if !more() {
			return nil
		}
	}
}

// bring makes one fault, ends it, and waits until every application commits
// again.
func (n *nemesis) bring(ctx context.Context, f fault) error {
	h := n.w.hist
	hold := max(n.hold+time.Duration(n.random.Int64N(int64(2*n.hold))), f.least)
	at := event{At: monotonic(), Proc: "nemesis", Kind: kindFault, Op: f.kind}
	what, heal, err := f.inject(ctx, n.w, n.random)
	if err != nil {
		return fmt.Errorf("inject: %w", err)
	}
	at.Text = what
	h.add(at)
	if err := wait(ctx, hold); err != nil {
		return err
	}
	if err := heal(ctx); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	healed := monotonic()
	h.add(event{At: healed, Proc: "nemesis", Kind: kindHeal, Op: f.kind})
	if err := n.w.recovered(ctx, healed); err != nil {
		return err
	}
	n.w.t.Logf("%6d committed; %s (%s), %v, all commit again %v later", h.committed(), f.kind, what,
		hold.Round(time.Millisecond), time.Duration(monotonic()-healed).Round(time.Millisecond))
	return wait(ctx, n.pause)
}

// wait lets a fault last. The length is the fault's own, nobody signals it.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// verify ends the load and checks everything.
func (w *world) verify(ctx context.Context) {
	t := w.t
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for _, a := range w.apps {
		if err := a.proc.order("stop"); err != nil {
			t.Errorf("stop %s: %v", a.proc.name, err)
		}
	}
	if err := w.hist.await(ctx, "the end of all transfers", func() bool {
		return !slices.ContainsFunc(w.apps, func(a *slot) bool { return !w.hist.quiet[a.proc.name] })
	}); err != nil {
		t.Error(err)
	}
	for name, b := range w.banks {
		if left, err := b.AwaitNone(ctx, 0, nil); err != nil {
			t.Errorf("bank %s: left behind: %v: %v", name, left, err)
		}
	}
	holds, bad, err := w.awaitHolds(ctx)
	if err != nil {
		t.Errorf("holds: %v", err)
	}
	some(t, bad)
	calls, err := w.awaitCalls(ctx)
	if err != nil {
		t.Errorf("calls: %v", err)
	}
	if err := w.bus.Idle(ctx); err != nil {
		t.Error(err)
	}
	there := map[string]bool{}
	for name, b := range w.banks {
		told, err := outcomes(ctx, w.hist, func(id string) bool { return strings.Contains(id, "."+name+".") }, w.bus)
		if err != nil {
			t.Errorf("bank %s: %v", name, err)
		}
		if money, err := b.Check(ctx, told); err != nil {
			t.Errorf("bank %s: %+v: %v", name, money, err)
		}
		ids, err := transfers(ctx, w.sides[name], name)
		if err != nil {
			t.Errorf("bank %s: %v", name, err)
		}
		for id := range ids {
			there[id] = true
		}
	}
	v, err := w.log.verdicts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h := w.hist
	h.mu.Lock()
	defer h.mu.Unlock()
	some(t, checkLog(h, v, there))
	bad, confirmed, cancelled := checkHolds(h, v.of, holds)
	some(t, bad)
	bad, called, recalled := checkCalls(h, v.of, calls)
	some(t, bad)
	// Of a hundred some were made to fail.
	if w.size.mode != "3pc" && len(holds) == 0 || len(holds) > 100 && min(confirmed, cancelled) == 0 || len(calls) > 100 && min(called, recalled) == 0 {
		t.Errorf("confirmed and cancelled were %d and %d actions, %d and %d calls: something was not tested", confirmed, cancelled, called, recalled)
	}
	bad, n, err := checkRegisters(h.ops, v.of)
	if err != nil {
		t.Error(err)
	}
	some(t, bad)
	if n == 0 {
		t.Error("no history of any XID was checked")
	}
	for _, p := range h.problems {
		t.Error(p)
	}
	if info, err := w.js.Stream(ctx, "GTX_LOG"); err != nil {
		t.Error(err)
	} else if first := info.CachedInfo().State.FirstSeq; first > 1 {
		t.Logf("the log has forgotten its first %d messages of %d", first-1, info.CachedInfo().State.LastSeq)
	}
	t.Logf("%d XIDs are registers written once; %d transfers stand in the databases, %d commit records in the log; %d actions confirmed, %d cancelled; %d calls confirmed, %d cancelled",
		n, len(there), v.commits, confirmed, cancelled, called, recalled)
}

// some reports the first of what is wrong.
func some(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad[:min(len(bad), 20)] {
		t.Error(b)
	}
}

// report is what happened, as a table: for each kind of fault the longest time
// without any commit, from the fault to the next one.
func (w *world) report(took time.Duration) string {
	h := w.hist
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.commits)
	told := map[string]int{}
	for _, a := range h.told {
		told[a.status]++
	}
	gaps := map[string][]time.Duration{}
	for i, f := range h.faults {
		end := f.to
		if i+1 < len(h.faults) {
			end = h.faults[i+1].from
		}
		gaps[f.kind] = append(gaps[f.kind], longest(h.commits, f.from, end))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d transfers in %v: %d told committed, %d aborted, %d unknown; %d transactions with a branch; %d questions about fates; %d faults\n",
		len(h.told), took.Round(time.Second), told["committed"], told["aborted"], told["unknown"], h.begun, len(h.ops), len(h.faults))
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "fault\ttimes\tlongest time without a commit, p50\tmax")
	for _, f := range append(faults(), fault{kind: twoAtOnce}) {
		g := gaps[f.kind]
		if len(g) == 0 {
			continue
		}
		slices.SortFunc(g, cmp.Compare[time.Duration])
		fmt.Fprintf(table, "%s\t%d\t%v\t%v\n", f.kind, len(g), g[len(g)/2].Round(10*time.Millisecond), g[len(g)-1].Round(10*time.Millisecond))
	}
	_ = table.Flush() // a Builder never fails
	return b.String()
}

// longest gives the longest pause between commits that lies in from..to. The
// commits are sorted.
func longest(commits []int64, from, to int64) time.Duration {
	last, pause := from, int64(0)
	i, _ := slices.BinarySearch(commits, from)
	for ; i < len(commits) && commits[i] <= to; i++ {
		pause = max(pause, commits[i]-last)
		last = commits[i]
	}
	return time.Duration(max(pause, to-last))
}
