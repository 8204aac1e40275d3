package sqltext

import (
	"errors"
	"slices"
	"testing"
)

// FuzzParse holds for every text: no panic; what is understood lies inside the
// text, in order and apart; and every part, read alone, gives the same tokens,
// so that it may be put into another statement.
func FuzzParse(f *testing.F) {
	for _, file := range corpora {
		for _, e := range readCorpus(f, file) {
			for _, s := range e.sessions {
				f.Add(e.text, uint8(s.d), s.m.ANSIQuotes, s.m.NoBackslashEscapes, s.m.BackslashStrings, s.m.UpdateDeleteLimit)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string, d uint8, ansi, noBackslash, backslash, limit bool) {
		m := Mode{ansi, noBackslash, backslash, limit}
		st, err := Parse(text, Dialect(d), m)
		if err != nil {
			var r *Refusal
			if st != nil || !errors.As(err, &r) || r.Code == "" {
				t.Fatalf("refused with %v, %#v", st, err)
			}
			return
		}
		checkStatement(t, st, m)
	})
}

// checkSlice compares the tokens of a part, read alone, with its tokens in the
// whole text.
func checkSlice(t *testing.T, what string, whole []token, st *Statement, sp Span, m Mode) {
	t.Helper()
	same := func(a, b token) bool {
		return a.kind == b.kind && a.op == b.op && a.word == b.word && a.start+int32(sp.Start) == b.start && a.end+int32(sp.Start) == b.end
	}
	var want []token
	for _, tok := range whole {
		if int(tok.start) >= sp.Start && int(tok.end) <= sp.End && tok.kind != tEnd {
			want = append(want, tok)
		}
	}
	got := lexAll(t, st.Slice(sp), st.Dialect, m)
	got = got[:len(got)-1] // tEnd
	if what == "alias" && len(got) == 1 && len(want) == 1 {
		got[0].word = want[0].word // AS in front has made it a name
	}
	if !slices.EqualFunc(got, want, same) {
		t.Fatalf("%s %q reads differently alone:\n%v\n%v", what, st.Slice(sp), got, want)
	}
	for _, tok := range got {
		if tok.kind == tOp && tok.op == ';' {
			t.Fatalf("%s holds a semicolon", what)
		}
	}
}

func lexAll(t *testing.T, text string, d Dialect, m Mode) []token {
	t.Helper()
	l := lexer{text: text, d: d, m: m}
	if r := l.run(); r != nil {
		t.Fatalf("%q: %v", text, r)
	}
	return l.toks
}
