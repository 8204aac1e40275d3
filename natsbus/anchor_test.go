package natsbus

import (
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

func TestAnchorBytes(t *testing.T) {
	want := position{log: 1 << 63, seq: 2, hash: coordinator.Hash{3, 31: 4}}
	b := want.encode()
	if got, err := decodePosition(b); err != nil || got != want {
		t.Fatalf("got %v, %v", got, err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := decodePosition(b); !errors.Is(err, coordinator.ErrCorrupt) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
			b[i] ^= 1 << bit
		}
	}
	if _, err := decodePosition(append(b, 0)); !errors.Is(err, coordinator.ErrCorrupt) {
		t.Errorf("one byte more: %v", err)
	}
}

// TestL2AnchorFindsALostEnd: the log looks whole to its last message, and the
// anchor or the memory of a process knows that there was more, or other.
func TestL2AnchorFindsALostEnd(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	l := testLog(t, c.URL(), 1)
	d := drive(t, l)
	d.fill(3, 1)
	seq, hash := d.m.Position()
	load := func(t *testing.T, l *decisionLog) error {
		t.Helper()
		m, err := l.open(ctx, freshMachine)
		if err == nil {
			_, err = m.Campaign()
		}
		return err
	}
	save := func(t *testing.T, log, seq uint64, hash coordinator.Hash) {
		t.Helper()
		if err := l.saveAnchor(ctx, log, seq, hash); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("none yet", func(t *testing.T) {
		if err := load(t, testLog(t, c.URL(), 1)); err != nil {
			t.Error(err)
		}
	})
	t.Run("whole", func(t *testing.T) {
		save(t, d.m.Log(), seq, hash)
		if err := load(t, testLog(t, c.URL(), 1)); err != nil {
			t.Error(err)
		}
	})
	t.Run("shorter", func(t *testing.T) {
		save(t, d.m.Log(), seq+1, hash)
		wantDamage(t, load(t, testLog(t, c.URL(), 1)), coordinator.ErrTruncated, "n1")
	})
	t.Run("shorter than seen", func(t *testing.T) {
		save(t, d.m.Log(), seq, hash)
		l := testLog(t, c.URL(), 1)
		l.saw(position{d.m.Log(), seq + 1, hash})
		wantDamage(t, load(t, l), coordinator.ErrTruncated, "n1")
	})
	t.Run("another end", func(t *testing.T) {
		save(t, d.m.Log(), seq, coordinator.Hash{})
		if err := load(t, testLog(t, c.URL(), 1)); !errors.Is(err, coordinator.ErrCorrupt) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another log", func(t *testing.T) {
		save(t, d.m.Log()+1, seq, hash)
		wantDamage(t, load(t, testLog(t, c.URL(), 1)), coordinator.ErrCorrupt, "n1")
	})
	t.Run("unreadable", func(t *testing.T) {
		if _, err := l.js.Publish(ctx, anchorSubject, []byte("else")); err != nil {
			t.Fatal(err)
		}
		wantDamage(t, load(t, testLog(t, c.URL(), 1)), coordinator.ErrCorrupt, "n1")
	})
	t.Run("deleted by an operator", func(t *testing.T) {
		if err := l.js.DeleteStream(ctx, anchorStream); err != nil {
			t.Fatal(err)
		}
		if err := load(t, testLog(t, c.URL(), 1)); err != nil {
			t.Error(err)
		}
	})
}

func TestGuardAnchorBytes(t *testing.T) {
	want := guardAnchor{id: 1 << 63, seq: 2}
	b := want.encode()
	if got, err := decodeGuardAnchor(b); err != nil || got != want {
		t.Fatalf("got %v, %v", got, err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := decodeGuardAnchor(b); !errors.Is(err, coordinator.ErrCorrupt) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
			b[i] ^= 1 << bit
		}
	}
	for what, b := range map[string][]byte{"one byte more": append(b, 0), "no identity": guardAnchor{seq: 1}.encode(), "nothing": nil} {
		if _, err := decodeGuardAnchor(b); !errors.Is(err, coordinator.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
