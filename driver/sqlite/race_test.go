package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// writerEnv makes the test binary an outside writer: DSN and number of writes.
const writerEnv = "GTX_SQLITE_WRITER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(writerEnv); spec != "" {
		if err := writeOutside(spec); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeOutside adds 1 to outs of a row again and again, each write by one line of
// its input, as a program would that knows nothing of us. It prints how many rows
// it has changed.
func writeOutside(spec string) error {
	dsn, rows, _ := strings.Cut(spec, "\n")
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	n, err := strconv.Atoi(rows)
	if err != nil {
		return err
	}
	changed, turn := int64(0), 0
	for in := bufio.NewScanner(os.Stdin); in.Scan(); turn++ {
		for { // its patience with a busy database is as long as it takes
			res, err := db.Exec("UPDATE r SET outs = outs + 1, grp = 1 - grp WHERE id = ?", 1+turn%n)
			if err == nil {
				k, err := res.RowsAffected()
				if err != nil {
					return err
				}
				changed += k
				break
			}
			if (Dialect{}).Classify(err) != undo.Conflict {
				return err
			}
		}
	}
	_, err = fmt.Println("CHANGED", changed)
	return err
}

// TestImagesUnderAnotherProcess: while another process writes the same rows, the
// before image is the row that was overwritten, in both journal modes, and nothing
// that the other wrote is lost in local transactions that end in ROLLBACK or in an
// undo (rules T1, P3). A database that stays busy is a conflict, never an error
// that nobody can act on.
func TestImagesUnderAnotherProcess(t *testing.T) {
	forms := []string{
		"UPDATE r SET ver = ver + 1 WHERE id = 2",
		"UPDATE r SET ver = ver + 1 WHERE grp = 1",
		"UPDATE r SET ver = ver + 1 FROM (SELECT 1 AS g) AS p WHERE p.g = r.grp",
		"INSERT INTO r VALUES (2, 1, 1, 0), (9, 1, 1, 0) ON CONFLICT (id) DO UPDATE SET ver = r.ver + 1",
		"UPDATE r SET ver = ver + 1 WHERE id IN (SELECT id FROM r ORDER BY ver, id LIMIT 3)",
	}
	for _, mode := range []string{"wal", "delete", "truncate"} {
		t.Run(mode, func(t *testing.T) {
			const rows = 6
			h := setup(t, "PRAGMA journal_mode = "+mode, "CREATE TABLE r (id INTEGER PRIMARY KEY, grp INT NOT NULL, ver INT NOT NULL, outs INT NOT NULL)")
			for id := 1; id <= rows; id++ {
				h.plain("INSERT INTO r VALUES (?, ?, 0, 0)", id, id%2)
			}
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(os.Environ(), writerEnv+"="+h.dsn+"\n"+strconv.Itoa(rows))
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			exact, conflicts, stuck := 0, 0, 0
			for i := range 25 {
				if _, err := io.WriteString(in, "go\ngo\ngo\n"); err != nil {
					t.Fatal(err)
				}
				xid := h.xid()
				n, err := h.raceOnce(xid, forms[i%len(forms)], i%4 != 0)
				switch {
				case errors.Is(err, gtx.ErrConflict):
					conflicts++
					continue
				case err != nil:
					t.Fatal(err)
				}
				exact += n
				res := gtx.Resolution{XID: xid, Status: gtx.Aborted}
				err = h.resolver.Resolve(t.Context(), res)
				for errors.Is(err, gtx.ErrConflict) {
					err = h.resolver.Resolve(t.Context(), res)
				}
				if errors.Is(err, gtx.ErrDirty) { // the other process wrote in between: its write stays
					stuck++
					_, err = h.resolver.Operate(t.Context(), undo.Operation{XID: xid, Action: undo.KeepCurrent, Who: "race", Reason: "outside", AssumeAborted: true})
				}
				if err != nil && !errors.Is(err, undo.ErrNothing) {
					t.Fatal(err)
				}
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, said.String())
			}
			var changed, outs int
			if _, err := fmt.Sscanf(said.String(), "CHANGED %d", &changed); err != nil {
				t.Fatalf("the other process said %q", said.String())
			}
			if err := h.db.QueryRow("SELECT SUM(outs) FROM r").Scan(&outs); err != nil {
				t.Fatal(err)
			}
			if outs != changed || changed != 75 || exact == 0 {
				t.Errorf("%d outside writes are there, %d were made, want 75; %d images", outs, changed, exact)
			}
			t.Logf("%s: %d images exact, %d conflicts, %d stuck, %d outside writes", mode, exact, conflicts, stuck, changed)
		})
	}
}

// raceOnce captures text, compares its undo rows with what it left, and commits
// locally or rolls back.
func (h *house) raceOnce(xid gtx.XID, text string, commit bool) (exact int, err error) {
	h.t.Helper()
	l := h.begin(xid)
	defer l.c.Close()
	out, err := l.capture(do{text: text})
	if err != nil {
		l.exec("ROLLBACK")
		return 0, err
	}
	table, err := Dialect{}.Table(h.t.Context(), func(_ context.Context, text string, args ...any) ([][]string, error) {
		return l.lines(text, args...), nil
	}, "r")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, u := range l.lines("SELECT keyh, seq, op FROM gtx_undo WHERE xid = ?", xid.String()) {
		row := undo.Row{Table: table.ID, KeyHash: u[0], XID: xid, Branch: l.branch, Op: undo.Op(u[2]), Fingerprint: table.Fingerprint}
		if row.Seq, err = strconv.ParseInt(u[1], 10, 64); err != nil {
			h.t.Fatal(err)
		}
		show := Dialect{}.Show(table, &row)
		shown := l.lines(show.Text, show.Args...)
		before, now := version(h.t, shown[0][4]), version(h.t, shown[0][5])
		if row.Op == undo.Insert && now != 1 || row.Op == undo.Update && now != before+1 {
			h.t.Errorf("%s: undo row %s holds version %d, the statement left %d", text, row.Op, before, now)
		}
		exact++
	}
	if int64(exact) != out.RowsAffected {
		h.t.Errorf("%s: %d rows affected, %d captured", text, out.RowsAffected, exact)
	}
	if commit {
		l.exec("COMMIT")
	} else {
		l.exec("ROLLBACK")
	}
	return exact, nil
}

// version reads ver of an image for people; -1 for no image.
func version(t *testing.T, image string) int {
	t.Helper()
	if image == "" {
		return -1
	}
	var values []string
	if err := json.Unmarshal([]byte(image), &values); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(values[2])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
