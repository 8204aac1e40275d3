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
				f.Add(e.text, uint8(s.d), s.m.ANSIQuotes, s.m.NoBackslashEscapes)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string, d uint8, ansi, noBackslash bool) {
		m := Mode{ANSIQuotes: ansi, NoBackslashEscapes: noBackslash}
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

func checkStatement(t *testing.T, st *Statement, m Mode) {
	t.Helper()
	whole := lexAll(t, st.Text, st.Dialect, m)
	at := 0
	part := func(what string, sp Span, must bool) {
		t.Helper()
		if sp == (Span{}) {
			if must {
				t.Fatalf("no %s", what)
			}
			return
		}
		if sp.Start < at || sp.End <= sp.Start || sp.End > len(st.Text) {
			t.Fatalf("%s is at %v, after %d of %d", what, sp, at, len(st.Text))
		}
		at = sp.End
		checkSlice(t, what, whole, st, sp, m)
	}
	if st.Kind != Select {
		part("target", st.TargetSpan, true)
		if st.Target.Table == "" {
			t.Fatal("the target has no name")
		}
	}
	part("alias", st.AliasSpan, st.Alias != "")
	for _, row := range st.Rows {
		if len(row) == 0 || st.Columns != nil && len(row) != len(st.Columns) {
			t.Fatalf("%d values for %d columns", len(row), len(st.Columns))
		}
		for _, v := range row {
			part("value", v.Span, true)
			if v.Kind == ValuePlaceholder && st.Placeholders[v.Placeholder].Span != v.Span {
				t.Fatal("the value is another marker")
			}
		}
	}
	part("set", st.Set, st.Kind == Update)
	part("where", st.Where, false)
	part("returning", st.Returning, false)
	if (st.Kind == Insert) != (len(st.Rows) > 0) || (st.Kind == Update) != (len(st.SetColumns) > 0) {
		t.Fatal("parts of another kind of statement")
	}
	at = 0
	for _, p := range st.Placeholders {
		if p.Span.Start < at || p.Span.End > len(st.Text) || p.Ordinal < 1 {
			t.Fatalf("marker %v", p)
		}
		at = p.Span.End
	}
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
