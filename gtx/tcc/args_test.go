package tcc

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type anything struct {
	Text  string
	Bytes []byte
	Big   int64
	Map   map[string]string
}

// keep is an action that is never called.
type keep[A any] struct{}

func (keep[A]) Try(context.Context, Tx, A) error     { return nil }
func (keep[A]) Confirm(context.Context, Tx, A) error { return nil }
func (keep[A]) Cancel(context.Context, Tx, A) error  { return nil }

func FuzzArgs(f *testing.F) {
	f.Add("", []byte{}, int64(0))
	f.Add("né\x00 😀 \u2028 \ufffd \\ufffd \\\\ufffd \" <&>", []byte("\xff\x00"), int64(1)<<62+1)
	f.Add("\xff", []byte(nil), int64(-1))
	f.Fuzz(func(t *testing.T, text string, b []byte, n int64) {
		args := anything{Text: text, Bytes: b, Big: n, Map: map[string]string{text: text}}
		raw, err := encode(args)
		if valid := strings.ToValidUTF8(text, "x") == text; valid != (err == nil) {
			if len(text)+len(b) > MaxArgs/20 {
				return
			}
			t.Fatalf("valid %t: %v", valid, err)
		}
		if err != nil {
			if !errors.Is(err, ErrArgs) {
				t.Fatal(err)
			}
			return
		}
		for _, c := range raw {
			if c < ' ' || c > 0x7f {
				t.Fatalf("byte %q in %q", c, raw)
			}
		}
		got, err := decode(keep[anything]{}, 1, 1, raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(args, got); diff != "" {
			t.Errorf("changed on the way (-want +got):\n%s", diff)
		}
	})
}

func TestArgsOfAnyType(t *testing.T) {
	raw, err := encode(nil)
	if err != nil || string(raw) != "null" {
		t.Errorf("nil: %q, %v", raw, err)
	}
	if got, err := decode(keep[*anything]{}, 1, 1, raw); err != nil || got != nil {
		t.Errorf("nil: %v, %v", got, err)
	}
	if _, err := encode(make(chan int)); !errors.Is(err, ErrArgs) {
		t.Errorf("channel: %v", err)
	}
	if _, err := encode(strings.Repeat("x", MaxArgs-1)); !errors.Is(err, ErrArgs) {
		t.Errorf("too large: %v", err)
	}
	if _, err := encode(strings.Repeat("x", MaxArgs-2)); err != nil {
		t.Errorf("as large as may be: %v", err)
	}
	for _, bad := range []string{"", "{", `{}{}`, `{"Big":1.5}`, `{"Big":99999999999999999999}`} {
		if _, err := decode(keep[anything]{}, 1, 1, []byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := decode(keep[anything]{}, 1, 2, []byte("{}")); err == nil {
		t.Error("an older version was read without Upgrade")
	}
}

func TestReason(t *testing.T) {
	for _, text := range []string{"", "plain", "né \x00\xff\n\"quoted\" `\\ 😀"} {
		stored := storedReason(text)
		if got := readReason(stored); got != text || strings.ToValidUTF8(stored, "") != stored {
			t.Errorf("%q: stored %q, read %q", text, stored, got)
		}
	}
	long := storedReason(strings.Repeat("é", 5000))
	if len(long) > maxReason || len(long) < maxReason/2 || !strings.HasPrefix(readReason(long), "éé") {
		t.Errorf("%d bytes: %.40s", len(long), long)
	}
}
