package natsbus

import (
	"errors"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// TestG3TrimmedLogLoads: a reader that was behind the new beginning hears that
// it must start again, and who starts there has all unfinished commits.
func TestG3TrimmedLogLoads(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	l := testLog(t, c.URL(), 1)
	d := driveWith(t, l, func() (*coordinator.Machine, error) {
		return coordinator.New(coordinator.Config{TrimBytes: 32 << 10}, random(), random())
	})
	d.fill(2, 10)
	behind, err := testLog(t, c.URL(), 1).open(ctx, freshMachine)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; len(d.purges) == 0; n++ {
		if n == 100 {
			t.Fatal("the machine trims nothing")
		}
		d.fill(1, 20)
		d.step(coordinator.Tick{})
		d.flush()
	}
	if err := l.purge(ctx, d.purges[0]); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if err := l.readOn(ctx, behind); !errors.Is(err, errTrimmed) || errors.As(err, &damage) {
		t.Errorf("behind the beginning: %v", err)
	}
	d.fill(1, 1)
	m, err := testLog(t, c.URL(), 1).open(ctx, freshMachine)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.check(m); err != nil {
		t.Error(err)
	}
	if _, err := m.Campaign(); err != nil {
		t.Error(err)
	}
}

// TestG3PurgeWhileReading: the message is gone when it is asked for, which is no
// damage.
func TestG3PurgeWhileReading(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	l := testLog(t, c.URL(), 1)
	d := drive(t, l)
	d.fill(readAhead+20, 1)
	seq, _ := d.m.Position()
	err := l.read(ctx, 1, seq, func(at uint64, _ time.Time, _ []byte) error {
		if at == 1 { // what was asked for ahead is on its way, the rest is not
			return l.purge(ctx, seq-1)
		}
		return nil
	})
	var damage *DamageError
	if !errors.Is(err, errTrimmed) || errors.As(err, &damage) {
		t.Errorf("got %v", err)
	}
}

// TestReadOnInPieces: a standby reads again and again, and what is there twice
// is taken once.
func TestReadOnInPieces(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	d := drive(t, testLog(t, c.URL(), 1))
	l := testLog(t, c.URL(), 1)
	m, err := l.open(ctx, freshMachine)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.fill(readAhead/2, 1)
		for range 2 {
			if err := l.readOn(ctx, m); err != nil {
				t.Fatal(err)
			}
			if err := d.check(m); err != nil {
				t.Fatal(err)
			}
		}
	}
}
