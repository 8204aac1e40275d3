package tcc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxArgs bounds the arguments of an action as JSON in ASCII, in bytes.
const MaxArgs = 128 << 10

// encode gives args as JSON in ASCII, which every character set of every server takes.
func encode(args any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(args); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArgs, err)
	}
	raw := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	// The encoder replaces what is not UTF-8, and only that is written as an escape.
	if escapesReplacement(raw) {
		return nil, fmt.Errorf("%w: a text in them is not valid UTF-8: use []byte", ErrArgs)
	}
	raw = toASCII(raw)
	if len(raw) > MaxArgs {
		return nil, fmt.Errorf("%w: %d bytes of JSON, at most %d: store a key of them", ErrArgs, len(raw), MaxArgs)
	}
	return raw, nil
}

func escapesReplacement(raw []byte) bool {
	for i := 0; i+5 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if raw[i+1] == 'u' && string(raw[i+2:i+6]) == "fffd" {
			return true
		}
		i++ // what is escaped is no backslash of its own
	}
	return false
}

// toASCII writes the characters that JSON allows only inside texts as escapes.
func toASCII(raw []byte) []byte {
	plain := true
	for _, c := range raw {
		plain = plain && c < utf8.RuneSelf
	}
	if plain {
		return raw
	}
	out := make([]byte, 0, 2*len(raw))
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		switch {
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r >= 0x10000:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		raw = raw[n:]
	}
	return out
}

// decode reads arguments of version had for an action of version has, which is not older.
func decode[A any](a Action[A], had, has int, raw []byte) (args A, err error) {
	if had != has {
		up, ok := any(a).(Upgrader[A])
		if !ok {
			return args, fmt.Errorf("read arguments of version %d: the action is of version %d and has no Upgrade", had, has)
		}
		if args, err = up.Upgrade(had, bytes.Clone(raw)); err != nil {
			return args, fmt.Errorf("upgrade arguments of version %d: %w", had, err)
		}
		return args, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&args); err != nil {
		return args, fmt.Errorf("read arguments: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return args, errors.New("read arguments: more than one value")
	}
	return args, nil
}
