package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal gives both ends of a new one.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func TestResolveAsksOnATerminal(t *testing.T) {
	m := newMess(t, sqliteMess(t))
	args := []string{"resolve", m.dsn, m.xid.String(), "--keep-current", "--reason", "test", "--nats", m.bus.URL()}
	for _, tc := range []struct {
		answer string
		code   int
	}{{"no\n", exitError}, {"\n", exitError}, {"y\n", exitError}, {"yes\n", exitOK}} {
		person, program := terminal(t)
		if _, err := person.WriteString(tc.answer); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, stdio{program, &out, &errs}); code != tc.code || !strings.Contains(out.String(), "Type yes") {
			t.Fatalf("%q: exit code %d\n%s%s", tc.answer, code, out.String(), errs.String())
		}
		if tc.code != exitOK {
			m.want("SELECT COUNT(*) FROM gtx_undo", "[[3]]")
		}
	}
	m.want(parcels, "[[1 645372 Ada] [2 8 Linus] [3 6 Alan]]")

	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, stdio{null, &out, &errs}); code != exitError || !strings.Contains(errs.String(), "not yes") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
}
