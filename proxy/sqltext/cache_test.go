package sqltext

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const cached = "UPDATE accounts SET balance = balance - ? WHERE id = ? AND name = \"x\""

func TestCacheHit(t *testing.T) {
	var c Cache
	first, err := c.Parse(cached, MySQL, Mode{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Parse(strings.Clone(cached), MySQL, Mode{})
	if err != nil || again != first {
		t.Errorf("the second answer is %p, %v, not %p", again, err, first)
	}
	other, err := c.Parse(cached, MySQL, Mode{ANSIQuotes: true})
	if err != nil || other == first {
		t.Error("the mode is not part of the key")
	}
	other, err = c.Parse(cached, MariaDB, Mode{})
	if err != nil || other == first || other.Dialect != MariaDB {
		t.Error("the dialect is not part of the key")
	}
	_, r1 := c.Parse("DROP TABLE t", MySQL, Mode{})
	_, r2 := c.Parse("DROP TABLE t", MySQL, Mode{})
	if r1 == nil || r1 != r2 { //nolint:errorlint // one cached value
		t.Errorf("refusals %v and %v", r1, r2)
	}
}

func TestCacheHitDoesNotAllocate(t *testing.T) {
	var c Cache
	for _, text := range []string{cached, "DROP TABLE t"} {
		n := testing.AllocsPerRun(1000, func() { _, _ = c.Parse(text, MySQL, Mode{}) })
		if n != 0 {
			t.Errorf("%q allocates %v times", text, n)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c Cache
	check := func() {
		t.Helper()
		entries, bytes := 0, 0
		for i := range c.shards {
			s := &c.shards[i]
			if len(s.byKey) != len(s.ring) {
				t.Fatalf("map holds %d, ring %d", len(s.byKey), len(s.ring))
			}
			sum := 0
			for _, e := range s.ring {
				if s.byKey[e.key] != e {
					t.Fatal("an entry is in the ring only")
				}
				sum += e.bytes
			}
			if sum != s.bytes {
				t.Fatalf("entries have %d bytes, counted %d", sum, s.bytes)
			}
			entries += len(s.ring)
			bytes += s.bytes
		}
		if entries > cacheEntries || bytes > cacheBytes {
			t.Fatalf("%d entries with %d bytes", entries, bytes)
		}
	}
	hot, err := c.Parse(cached, MySQL, Mode{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 * cacheEntries {
		if _, err := c.Parse(fmt.Sprintf("DELETE FROM t WHERE id = %d", i), MySQL, Mode{}); err != nil {
			t.Fatal(err)
		}
		if st, _ := c.Parse(cached, MySQL, Mode{}); st != hot {
			t.Fatalf("a statement in use was pushed out by number %d", i)
		}
	}
	check()
	wide := "INSERT INTO t (a, b) VALUES (?, ?)" + strings.Repeat(", (?, ?)", 500)
	for i := range 500 {
		if _, err := c.Parse(fmt.Sprintf("%s, (?, %d)", wide, i), MySQL, Mode{}); err != nil {
			t.Fatal(err)
		}
	}
	check()
	huge := "INSERT INTO t (a, b) VALUES (?, ?)" + strings.Repeat(", (?, ?)", 20_000)
	one, err := c.Parse(huge, MySQL, Mode{})
	if err != nil {
		t.Fatal(err)
	}
	if two, _ := c.Parse(huge, MySQL, Mode{}); one == two {
		t.Error("a huge statement was kept")
	}
}

// TestCacheSize holds the estimate against what the heap grows by.
func TestCacheSize(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		d    Dialect
	}{
		"update":      {cached, MySQL},
		"refusal":     {"DROP TABLE t -- " + strings.Repeat("x", 1000), MySQL},
		"rows":        {"INSERT INTO t (a, b) VALUES (?, 1)" + strings.Repeat(", (?, f())", 300), MySQL},
		"columns":     {"UPDATE t SET a = 1" + strings.Repeat(", Column_b = 2", 100), Postgres},
		"tables":      {"UPDATE t" + strings.Repeat(" JOIN u", 50) + " SET t.a = 1", MySQL},
		"upserts":     {"INSERT INTO t VALUES (1)" + strings.Repeat(" ON CONFLICT (a) DO UPDATE SET a = 1", 50), SQLite},
		"merge":       {"MERGE INTO t USING s ON t.a = s.a" + strings.Repeat(" WHEN MATCHED THEN UPDATE SET a = 1", 50), Postgres},
		"with writes": {"WITH a AS (UPDATE t SET a = 1)" + strings.Repeat(", b AS (DELETE FROM t WHERE c = $1)", 30) + " SELECT f(1)", Postgres},
		"several":     {strings.Repeat("UPDATE t SET a = 1 WHERE b = ?; ", 50), MySQL},
	} {
		t.Run(name, func(t *testing.T) {
			var entries [200]*cacheEntry
			before := heap()
			for i := range entries {
				e := &cacheEntry{key: cacheKey{strings.Clone(c.text), c.d, Mode{}}}
				e.st, e.refusal = parse(e.key.text, c.d, Mode{})
				entries[i] = e
			}
			grown := int(heap()-before) / len(entries)
			if got := size(entries[0]); got*5 < grown*4 || got > grown*3 {
				t.Errorf("estimated %d bytes, the heap grew by %d", got, grown)
			}
			runtime.KeepAlive(entries)
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestCacheConcurrently(t *testing.T) {
	var c Cache
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 3000 {
				id := (i*7 + g*1001) % 6000
				text := fmt.Sprintf("UPDATE t SET a = ? WHERE id = %d", id)
				if _, err := c.Parse(text+" LIMIT 1", SQLite, Mode{}); err == nil {
					t.Errorf("%q LIMIT 1 was understood", text)
				}
				st, err := c.Parse(text, SQLite, Mode{})
				if err != nil || st.Text != text || st.Slice(st.Where) != fmt.Sprintf("id = %d", id) {
					t.Errorf("%q: %v, %v", text, st, err)
				}
			}
		})
	}
	wg.Wait()
}
