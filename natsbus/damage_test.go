package natsbus

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// blocks gives the block files of the log in a store, the oldest first, and the
// file of its state.
func blocks(t *testing.T, store string) (blks []string, index string) {
	t.Helper()
	dir := filepath.Join(store, "jetstream", "$G", "streams", streamName, "msgs")
	blks, err := filepath.Glob(filepath.Join(dir, "*.blk"))
	if err != nil || len(blks) < 3 {
		t.Fatalf("want 3 block files or more in %s, got %v, %v", dir, blks, err)
	}
	slices.SortFunc(blks, func(a, b string) int { // 2.blk before 10.blk
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		if a < b {
			return -1
		}
		return 1
	})
	return blks, filepath.Join(dir, "index.db")
}

// damages are what disks and people do to the store of a stopped server.
var damages = []struct {
	name  string
	three bool // tried on one of three servers, too, which takes 8 s each
	do    func(t *testing.T, blks []string, index string)
}{
	{"bit flipped", false, func(t *testing.T, blks []string, _ string) { flip(t, blks[1]) }},
	{"bit flipped, no index", true, func(t *testing.T, blks []string, index string) {
		flip(t, blks[1])
		remove(t, index)
	}},
	{"bit flipped in the last block, no index", false, func(t *testing.T, blks []string, index string) {
		flip(t, blks[len(blks)-1])
		remove(t, index)
	}},
	{"block truncated", true, func(t *testing.T, blks []string, _ string) { truncate(t, blks[1], 2) }},
	{"block truncated, no index", false, func(t *testing.T, blks []string, index string) {
		truncate(t, blks[1], 2)
		remove(t, index)
	}},
	{"block missing", true, func(t *testing.T, blks []string, _ string) { remove(t, blks[1]) }},
	{"first block missing, no index", true, func(t *testing.T, blks []string, index string) {
		remove(t, blks[0])
		remove(t, index)
	}},
	{"end cut off", false, func(t *testing.T, blks []string, _ string) { truncate(t, blks[len(blks)-1], 2) }},
	{"end cut off, no index", true, func(t *testing.T, blks []string, index string) {
		truncate(t, blks[len(blks)-1], 2)
		remove(t, index)
	}},
	{"last block missing, no index", true, func(t *testing.T, blks []string, index string) {
		remove(t, blks[len(blks)-1])
		remove(t, index)
	}},
	{"index missing", false, func(t *testing.T, _ []string, index string) { remove(t, index) }}, // harmless
}

func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// truncate keeps one part of parts.
func truncate(t *testing.T, path string, parts int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, st.Size()/parts)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// written makes a log of several blocks, anchored at its end.
func written(t *testing.T, url string, replicas int) *driver {
	t.Helper()
	cfg := logConfig(replicas)
	cfg.MaxBytes = 125_000 // the server makes blocks of 32 kB for that
	l, err := openLog(logContext(t), logConn(t, url), cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, l)
	d.fill(20, 40) // 95 kB
	seq, hash := d.m.Position()
	if err := d.l.saveAnchor(d.ctx, d.m.Log(), seq, hash); err != nil {
		t.Fatal(err)
	}
	return d
}

// loads gives what another process reads, ready to campaign.
func loads(t *testing.T, url string, replicas int) (*coordinator.Machine, error) {
	t.Helper()
	l, err := openLog(logContext(t), logConn(t, url), logConfig(replicas))
	if err != nil {
		return nil, err
	}
	m, err := l.open(logContext(t), freshMachine)
	if err == nil {
		_, err = m.Campaign()
	}
	return m, err
}

// TestL2DamageOnOneServer: a damaged log is refused or whole, never served with
// a decision missing.
func TestL2DamageOnOneServer(t *testing.T) {
	c := natstest.Start(t, 1)
	nd := c.Nodes()[0]
	d := written(t, c.URL(), 1)
	nd.Stop()
	good := t.TempDir()
	if err := os.CopyFS(good, os.DirFS(nd.StoreDir)); err != nil {
		t.Fatal(err)
	}
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			nd.StoreDir = t.TempDir()
			if err := os.CopyFS(nd.StoreDir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			blks, index := blocks(t, nd.StoreDir)
			damage.do(t, blks, index)
			nd.Restart()
			defer nd.Stop()
			m, err := loads(t, c.URL(), 1)
			if damage.name == "index missing" {
				if err == nil {
					err = d.check(m)
				}
				if err != nil {
					t.Errorf("a log that only lost its index: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("a damaged log is served: %v", d.check(m))
			}
			t.Log(err)
			wantDamage(t, err, nil, "n1")
		})
	}
}

// TestL2DamageOnOneOfThree: the damaged server is made the leader of the stream,
// and the log is read from another one.
func TestL2DamageOnOneOfThree(t *testing.T) {
	c := natstest.Start(t, 3)
	d := written(t, c.URL(), 3)
	bad := c.Nodes()[2]
	for _, damage := range damages {
		if !damage.three {
			continue
		}
		t.Run(damage.name, func(t *testing.T) {
			c.WaitCurrent(streamName)
			bad.Stop()
			blks, index := blocks(t, bad.StoreDir)
			damage.do(t, blks, index)
			bad.Restart()
			c.WaitCurrent(streamName)
			bad.Lead(streamName)
			m, err := loads(t, c.URL(), 3)
			if err == nil {
				err = d.check(m)
			}
			if err != nil {
				t.Error(err)
			}
			t.Logf("read from %s", c.Leader(streamName).Name)

			// What the error says helps: the server gets a whole copy.
			bad.Stop()
			if err := os.RemoveAll(filepath.Join(bad.StoreDir, "jetstream")); err != nil {
				t.Fatal(err)
			}
			bad.Restart()
		})
	}
	c.WaitCurrent(streamName)
	bad.Lead(streamName)
	m, err := loads(t, bad.URL(), 3)
	if err == nil {
		err = d.check(m)
	}
	if err != nil || c.Leader(streamName) != bad {
		t.Errorf("the repaired server: %v", err)
	}
}
