package pgsql

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
)

// Rules T1 and T4 for every form: the before image is the version that was
// overwritten, while others write, remove and make the same rows. Every write
// adds 1 to ver, rows made outside begin at 1000.
func TestImagesUnderRacingWriters(t *testing.T) { onEach(t, testImagesUnderRacingWriters) }

func testImagesUnderRacingWriters(t *testing.T) {
	forms := []string{
		"UPDATE r SET ver = ver + 1 FROM pick p WHERE p.grp = r.grp AND p.want RETURNING r.id, ver, r.id",
		"DELETE FROM r USING pick p WHERE p.grp = r.grp AND p.want RETURNING r.id, ver + 1, r.id",
		"INSERT INTO r VALUES (2, 1, 1), (5, 1, 1), (6, 1, 1), (9, 1, 1) ON CONFLICT (id) DO UPDATE SET ver = r.ver + 1 RETURNING id, ver, id",
		"INSERT INTO r SELECT i, 1, 1 FROM generate_series(3, 7) AS i ON CONFLICT (id) DO UPDATE SET ver = r.ver + 1 WHERE r.grp = 1 RETURNING id, ver, id",
		"INSERT INTO r VALUES (5, 1, 1), (6, 1, 1) ON CONFLICT DO NOTHING RETURNING id, ver, id",
		"UPDATE r SET id = id + 100, ver = ver + 1 WHERE grp = 1 RETURNING id - 100, ver, id",
	}
	if modern(t) {
		forms = append(forms, "MERGE INTO r USING (VALUES (1), (5), (6), (9)) AS v (i) ON v.i = r.id WHEN MATCHED AND grp = 1 THEN UPDATE SET ver = ver + 1"+
			" WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.i, 1, 1)"+
			" RETURNING COALESCE(new.id, old.id), COALESCE(new.ver, old.ver + 1), COALESCE(new.id, old.id)")
	}
	for n, text := range forms {
		t.Run(text, func(t *testing.T) {
			b := setup(t, "CREATE TABLE r (id int PRIMARY KEY, grp int, ver int)", "INSERT INTO r SELECT i, i % 2, 0 FROM generate_series(1, 6) i",
				"CREATE TABLE pick (grp int, want bool)", "INSERT INTO pick VALUES (1, true), (0, false), (1, true)")
			stop := make(chan struct{})
			var outside, inside sync.WaitGroup
			for w := range 2 {
				outside.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						id := 1 + (i+w*3)%6
						texts := []string{fmt.Sprintf("UPDATE r SET ver = ver + 1, grp = 1 - grp WHERE id = %d", id)}
						if id >= 5 && i%2 == 0 {
							texts = []string{fmt.Sprintf("DELETE FROM r WHERE id = %d", id), fmt.Sprintf("INSERT INTO r VALUES (%d, 1, 1000) ON CONFLICT DO NOTHING", id)}
						}
						for _, text := range texts {
							if _, err := b.db.Exec(text); err != nil && b.Classify(err) != 2 { // deadlocks with a capture happen
								t.Error(err)
								return
							}
						}
					}
				})
			}
			type seen struct{ rows, conflicts int }
			var totals [2]seen
			for c := range totals {
				br := b.begin(uint64(1+n*1000+c*100), generic)
				r, err := br.request(text)
				if err != nil {
					t.Fatal(err)
				}
				inside.Go(func() {
					for range 25 {
						rows, err := raceOnce(br, r)
						// MERGE does not wait for a key that comes into being: the server says so.
						var state interface{ SQLState() string }
						if errors.Is(err, gtx.ErrConflict) || strings.HasPrefix(text, "MERGE") && errors.As(err, &state) && state.SQLState() == "23505" {
							totals[c].conflicts++
						} else if err != nil {
							t.Error(err)
							return
						}
						totals[c].rows += rows
					}
				})
			}
			inside.Wait()
			close(stop)
			outside.Wait()
			if totals[0].rows+totals[1].rows == 0 {
				t.Error("no row was captured at all")
			}
			t.Logf("%+v", totals)
		})
	}
}

// generic keeps a plan of a prepared statement, as the server does after some runs.
const generic = "SET plan_cache_mode = force_generic_plan"

// raceOnce captures r, whose RETURNING is (key before, ver after, key after),
// checks it against the undo rows, and takes it back.
func raceOnce(br *branch, r *proxy.Capture) (rows int, err error) {
	defer br.anew()
	got, err := br.repeat(r)
	if err != nil {
		return 0, err
	}
	type change struct{ ver, key int64 }
	changed := map[int64]change{}
	for _, r := range got.Rows.(*proxy.Buffer).Lines { //nolint:errcheck // that is what Capture gives
		changed[asInt(r[0])] = change{asInt(r[1]), asInt(r[2])}
	}
	buf, err := query(br.Context(), br.conn, "SELECT op, (before_img::r).id::int8, (before_img::r).ver::int8 FROM gtx_undo", nil)
	if err != nil {
		return 0, err
	}
	made, before := map[int64]bool{}, 0
	for _, r := range buf.Lines {
		id := asInt(r[1])
		if asText(r[0]) == "I" {
			made[id] = true
			continue
		}
		before++
		if c, ok := changed[id]; !ok || c.ver != asInt(r[2])+1 {
			return 0, fmt.Errorf("before image of row %d has version %d, the statement left %v", id, asInt(r[2]), changed)
		}
	}
	for id, c := range changed {
		switch {
		case c.key != id && !made[c.key]:
			return 0, fmt.Errorf("row %d became %d, which has no undo row", id, c.key)
		case c.key == id && made[id] && c.ver != 1:
			return 0, fmt.Errorf("row %d was changed to version %d and captured as new", id, c.ver)
		case c.key == id && made[id]:
			before++
		}
	}
	if before != len(changed) {
		return 0, fmt.Errorf("%d rows changed, %d captured", len(changed), before)
	}
	return len(changed), nil
}
