package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bank"
)

// ModesConfig of a comparison of modes: a transfer between two databases.
type ModesConfig struct {
	// Open opens the database of one side, 0 or 1, with the base driver, or with ours; for
	// conns connections. w as in Config.
	Open func(side int, global, relayed bool, conns int) (s bank.Side, w Counter, err error)
	// Participant names a database for three-phase transactions.
	Participant func(*sql.DB) gtx.Participant
	Coordinator gtx.Coordinator
	// Modes to compare with plain local transactions.
	Modes []gtx.Mode
	// Name is the prefix of the tables of the benchmark's own.
	Name string
	// Rounds: how often each thing is timed, and how many turns it gets with each
	// number of Workers; at least 1.
	Rounds  int
	Workers []int
	Seed    uint64
}

// ModeLine is what a transfer costs in one way.
type ModeLine struct {
	// Way is "plain", two local transactions that do not know of each other, or a mode.
	Way string
	// Abort: the transfer is given up after the work at both databases was done.
	Abort bool
	// Times of one worker, from begin to the answer.
	Times Times
	// Trips are round trips to both databases, and Forced their forced writes, of one
	// transfer with its phase two; negative: not counted.
	Trips, Forced float64
	// PerSecond by the number of workers, and its ratio to plain: medians over turns.
	PerSecond, Ratio []float64
}

// way is one of those that are compared.
type way struct {
	line *ModeLine
	mode gtx.Mode // if not plain
	bank *bank.Bank
	opts []gtx.Option
}

type modes struct {
	ModesConfig
	rng  *rand.Rand
	next atomic.Int64 // transfer
	// plain sides are open all the time; they count and check.
	plain [2]bank.Side
	check *bank.Bank
}

const (
	// manyAccounts, so that workers seldom wait for each other.
	manyAccounts = 20_000
	// modeSlice is one turn. It is long against the time that phase two is behind.
	modeSlice = 500 * time.Millisecond
)

// Modes measures transfers. It makes its tables, checks the money, and drops them.
func Modes(ctx context.Context, cfg ModesConfig) (_ []ModeLine, err error) {
	if cfg.Rounds < 1 || len(cfg.Modes) == 0 {
		return nil, fmt.Errorf("bench: %d rounds of %d modes", cfg.Rounds, len(cfg.Modes))
	}
	m := &modes{ModesConfig: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0))}
	for i := range m.plain {
		if m.plain[i], _, err = cfg.Open(i, false, false, 2); err != nil {
			return nil, err
		}
		defer m.plain[i].DB.Close()
	}
	if m.check, err = m.bankOf(m.plain); err != nil {
		return nil, err
	}
	if err := m.check.Create(ctx); err != nil {
		return nil, errors.Join(err, m.check.Drop(ctx))
	}
	defer func() { err = errors.Join(err, m.check.Drop(ctx)) }()
	lines := make([]ModeLine, 2*(1+len(cfg.Modes)))
	for i := range lines {
		lines[i].Way, lines[i].Abort = "plain", i > len(cfg.Modes)
		if k := i % (1 + len(cfg.Modes)); k > 0 {
			lines[i].Way = cfg.Modes[k-1].String()
		}
	}
	if err := m.count(ctx, lines); err != nil {
		return nil, err
	}
	if err := m.time(ctx, lines); err != nil {
		return nil, err
	}
	for _, n := range cfg.Workers {
		if err := m.rates(ctx, lines, n); err != nil {
			return nil, err
		}
	}
	if err := m.settle(ctx); err != nil {
		return nil, err
	}
	_, err = m.check.Check(ctx, nil)
	return lines, err
}

func (m *modes) bankOf(sides [2]bank.Side) (*bank.Bank, error) {
	return bank.New(bank.Config{From: sides[0], To: sides[1], Name: m.Name, Accounts: manyAccounts})
}

// open makes the ways of all lines. Each mode has a pool of its own at each side: what
// one does to its connections (MariaDB keeps them while they wait) is not the other's.
func (m *modes) open(lines []ModeLine, relayed bool, conns int) (ways []way, counters []Counter, closeAll func(), err error) {
	var opened []*sql.DB
	closeAll = func() {
		for _, db := range opened {
			db.Close()
		}
	}
	ways = make([]way, len(lines))
	half := 1 + len(m.Modes)
	for k := range half {
		var sides [2]bank.Side
		for i := range sides {
			var c Counter
			if sides[i], c, err = m.Open(i, k > 0, relayed, conns); err != nil {
				closeAll()
				return nil, nil, nil, err
			}
			opened = append(opened, sides[i].DB)
			if c != nil {
				counters = append(counters, c)
			}
		}
		w := way{}
		if w.bank, err = m.bankOf(sides); err != nil {
			closeAll()
			return nil, nil, nil, err
		}
		if k > 0 {
			w.mode = m.Modes[k-1]
			w.opts = []gtx.Option{gtx.WithCoordinator(m.Coordinator), gtx.WithMode(w.mode)}
		}
		if w.opts != nil && w.mode == gtx.ThreePhase {
			w.opts = append(w.opts, gtx.WithResources(m.Participant(sides[0].DB), m.Participant(sides[1].DB)))
		}
		for _, i := range []int{k, half + k} {
			ways[i] = w
			ways[i].line = &lines[i]
		}
	}
	return ways, counters, closeAll, nil
}

var errGivenUp = errors.New("the transfer is given up")

// one runs one transfer.
func (m *modes) one(ctx context.Context, w *way, r *rand.Rand) error {
	t := bank.Transfer{
		ID: fmt.Sprint("b", m.next.Add(1)), From: 1 + r.IntN(manyAccounts), To: 1 + r.IntN(manyAccounts), Amount: 1 + r.Int64N(9),
	}
	plain := w.opts == nil
	switch {
	case plain && w.line.Abort:
		return w.bank.Dry(ctx, t)
	case plain:
		return w.bank.Move(ctx, t, nil)
	}
	err := gtx.Run(ctx, func(ctx context.Context) error {
		if err := w.bank.Move(ctx, t, nil); err != nil {
			return err
		}
		if w.line.Abort {
			return errGivenUp
		}
		return nil
	}, w.opts...)
	if w.line.Abort && errors.Is(err, errGivenUp) {
		return nil
	}
	return err
}

// settle waits until nothing is left of global transactions.
func (m *modes) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	left, err := m.check.AwaitNone(ctx, 0, nil)
	if err != nil {
		return fmt.Errorf("wait for phase two (%v): %w", left, err)
	}
	return nil
}

// time runs all ways in random order, one at a time.
func (m *modes) time(ctx context.Context, lines []ModeLine) error {
	const warm = 3
	ways, _, closeAll, err := m.open(lines, false, 2)
	if err != nil {
		return err
	}
	defer closeAll()
	for round := range m.Rounds + warm {
		for _, k := range m.rng.Perm(len(ways)) {
			begin := time.Now()
			if err := m.one(ctx, &ways[k], m.rng); err != nil {
				return fmt.Errorf("time %s: %w", lines[k].Way, err)
			}
			if took := time.Since(begin); round >= warm {
				lines[k].Times = append(lines[k].Times, took)
			}
			if err := m.settle(ctx); err != nil {
				return err
			}
		}
	}
	for i := range lines {
		slices.Sort(lines[i].Times)
	}
	return nil
}

// rates runs all ways in turns of Slice, in random order, with so many workers.
func (m *modes) rates(ctx context.Context, lines []ModeLine, workers int) error {
	const warm = 1
	ways, _, closeAll, err := m.open(lines, false, workers)
	if err != nil {
		return err
	}
	defer closeAll()
	rate, ratio := make([][]float64, len(ways)), make([][]float64, len(ways))
	for round := range m.Rounds + warm {
		now := make([]float64, len(ways))
		for _, k := range m.rng.Perm(len(ways)) {
			if now[k], err = m.slice(ctx, &ways[k], workers); err != nil {
				return fmt.Errorf("%s with %d workers: %w", lines[k].Way, workers, err)
			}
			if err := m.settle(ctx); err != nil {
				return err
			}
		}
		if round < warm {
			continue
		}
		for k := range ways {
			base := k - k%(1+len(m.Modes)) // plain, committed or given up
			rate[k], ratio[k] = append(rate[k], now[k]), append(ratio[k], now[k]/now[base])
		}
	}
	for k := range lines {
		slices.Sort(rate[k])
		slices.Sort(ratio[k])
		lines[k].PerSecond = append(lines[k].PerSecond, rate[k][(len(rate[k])-1)/2])
		lines[k].Ratio = append(lines[k].Ratio, ratio[k][(len(ratio[k])-1)/2])
	}
	return nil
}

// slice gives transfers per second. Phase two of those before the last ones is in it.
func (m *modes) slice(ctx context.Context, w *way, workers int) (float64, error) {
	var stop atomic.Bool
	var done atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, workers)
	begin, seed := time.Now(), m.rng.Uint64()
	timer := time.AfterFunc(modeSlice, func() { stop.Store(true) })
	defer timer.Stop()
	for i := range workers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for !stop.Load() {
				err := m.one(ctx, w, r)
				switch {
				case err == nil:
					done.Add(1)
				case !errors.Is(err, gtx.ErrConflict): // two transfers have met
					errs[i] = err
					return
				}
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds(), errors.Join(errs...)
}
