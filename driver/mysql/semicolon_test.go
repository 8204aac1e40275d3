package mysql

import (
	"strings"
	"testing"
)

// TestLookForSemicolons: what is sure needs no server; where readings may differ
// nothing is.
func TestLookForSemicolons(t *testing.T) {
	type want = semicolons
	one := want{sure: true, tail: -1}
	for text, want := range map[string]want{
		"":                                         one,
		"SELECT 1;":                                one,
		"SELECT 1 ; ;\n;\t ":                       one,
		"SELECT 1;; -- c":                          {sure: true, tail: 8, ends: 2},
		"SELECT 1; -- c\n ;":                       {sure: true, tail: 8, ends: 1},
		"SELECT 1; -- c":                           {sure: true, tail: 8, ends: 1},
		"SELECT 1; # c\n":                          {sure: true, tail: 8, ends: 1},
		"SELECT 1; /* ; */ ":                       {sure: true, tail: 8, ends: 1},
		"SELECT 1; --":                             {sure: true, tail: 8, ends: 1},
		"SELECT 1 /**/;":                           one,
		"SELECT 1 -- a; b\n":                       one,
		"SELECT 1 # a; b":                          one,
		"SELECT 5--1;":                             one,
		"SELECT 5--1; SELECT 2":                    {sure: true, several: true, tail: -1},
		"SELECT 1; SELECT 2":                       {sure: true, several: true, tail: -1},
		"; SELECT 1":                               {sure: true, several: true, tail: -1},
		"SELECT 1; SELECT 2; -- c":                 {sure: true, several: true, tail: 18, ends: 1},
		"SELECT ';', \";\", `;`":                   one,
		"SELECT 'a''; b', \"\"\";\", ```;`":        one,
		`SELECT 'a\n; b'`:                          one,
		`SELECT "a\\; b"`:                          one,
		`SELECT 'a\'; b'`:                          {tail: -1},                // ends before the semicolon where backslashes are themselves
		`SELECT "a\"; b"`:                          {tail: -1},                // and here with ANSI_QUOTES
		`SELECT 'a\'; SELECT 2; -- '`:              {tail: -1},                // two statements there
		`SELECT \N;`:                               {tail: -1},                //
		"SELECT 'a;":                               {tail: -1},                // not closed
		"SELECT 1 /* ;":                            {tail: -1},                // not closed
		"SELECT 1 /*! ; */":                        {tail: 13, ends: 1},       // the server's version decides
		"SELECT 1 /*!50000 ; SELECT 2 */":          {several: true, tail: -1}, //
		"SELECT 1 /*M!100000 ; */":                 {tail: 20, ends: 1},       //
		"SELECT 1; /*! */":                         {tail: 8, ends: 1},
		"SELECT /*+ X('*/') */ 1;":                 {tail: -1},
		"SELECT 1;\x00":                            {tail: 8, ends: 1},
		"SELECT 1\x00;":                            {tail: -1},
		"SELECT $$a';$$":                           {tail: -1},
		"SELECT a$b;":                              {tail: -1},
		"SELECT 'ö; ü'":                            one,
		"SELECT '\xb1\\'; SELECT 2; -- '":          {tail: -1},
		"SELECT '\xb1`;'":                          {tail: -1},
		"SELECT 1; --\xa0x":                        {several: true, tail: -1},
		"CREATE PROCEDURE p() BEGIN SELECT 1; END": {sure: true, several: true, tail: -1},
	} {
		if got := lookForSemicolons(text, true); got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

// FuzzLookForSemicolons: a statement behind one that is shown whole is always seen,
// or not sure.
func FuzzLookForSemicolons(f *testing.F) {
	for _, text := range []string{"SELECT 1", "SELECT 'a;'", `SELECT "\"`, "/* c */ SELECT `;`", "SELECT 1 -- c\n", "SELECT '\xb1\\'"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		seen := lookForSemicolons(text, true)
		if seen.tail >= 0 && text[seen.tail] != ';' || seen.tail >= 0 != (seen.ends > 0) {
			t.Fatalf("%q: %+v", text, seen)
		}
		if !seen.sure || seen.several {
			return
		}
		two := lookForSemicolons(text+"\n;SELECT 2", true)
		if content := strings.Trim(text, " \t\r\n\v\f;"); content != "" && two.sure && !two.several {
			t.Fatalf("%q is one statement, and with another behind it: %+v", text, two)
		}
	})
}
