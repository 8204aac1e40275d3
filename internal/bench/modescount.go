package bench

import (
	"context"
	"fmt"

	"github.com/globaltx/globaltx/internal/bank"
)

// count finds the round trips and the forced writes of every way, phase two included.
func (m *modes) count(ctx context.Context, lines []ModeLine) error {
	for _, s := range m.plain { // PostgreSQL adds up what a connection has done when it closes
		s.DB.SetMaxIdleConns(0)
		defer s.DB.SetMaxIdleConns(2)
	}
	for k := range lines {
		var err error
		if lines[k].Trips, err = m.countTrips(ctx, lines, k); err != nil {
			return fmt.Errorf("count round trips of %s: %w", lines[k].Way, err)
		}
		if lines[k].Forced, err = m.countForced(ctx, lines, k); err != nil {
			return fmt.Errorf("count forced writes of %s: %w", lines[k].Way, err)
		}
	}
	return nil
}

// batch runs n transfers of line k, each with its phase two.
func (m *modes) batch(ctx context.Context, ways []way, k, n int) error {
	for range n {
		if err := m.one(ctx, &ways[k], m.rng); err != nil {
			return err
		}
		if err := m.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *modes) countTrips(ctx context.Context, lines []ModeLine, k int) (float64, error) {
	ways, counters, closeAll, err := m.open(lines, true, 2)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	if len(counters) == 0 {
		return -1, nil
	}
	trips := func() (n int) {
		for _, c := range counters {
			n += c.RoundTrips()
		}
		return n
	}
	// The first ones open connections and read catalogues.
	if err := m.batch(ctx, ways, k, 3); err != nil {
		return 0, err
	}
	before := trips()
	if err := m.batch(ctx, ways, k, counted); err != nil {
		return 0, err
	}
	return float64(trips()-before) / counted, nil
}

func (m *modes) countForced(ctx context.Context, lines []ModeLine, k int) (float64, error) {
	before, ok, err := forcedAt(ctx, m.plain)
	if err != nil || !ok {
		return -1, err
	}
	ways, _, closeAll, err := m.open(lines, false, 2)
	if err != nil {
		return 0, err
	}
	err = m.batch(ctx, ways, k, counted)
	closeAll()
	if err != nil {
		return 0, err
	}
	after, _, err := forcedAt(ctx, m.plain)
	if err != nil {
		return 0, err
	}
	return float64(after-before) / counted, nil
}

// forcedAt adds up both sides.
func forcedAt(ctx context.Context, sides [2]bank.Side) (sum int64, ok bool, err error) {
	for _, s := range sides {
		n, ok, err := forced(ctx, s.DB, s.Dialect)
		if err != nil || !ok {
			return 0, false, err
		}
		sum += n
	}
	return sum, true, nil
}
