package server

import "testing"

func TestSQLiteTellsSyntaxFromNames(t *testing.T) {
	s, err := NewSQLite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	tests := map[string]bool{
		"SELECT 1":                          true,
		"SELECT 1; -- end\n;":               true,
		"SELECT ';' ; /* ; */":              true,
		"UPDATE t SET a = ? WHERE id = :id": true,
		"SELECT nosuch(a) FROM nosuch":      true,
		"INSERT INTO t (a) VALUES (1, 2)":   true,
		"SELECT 1; SELECT 2":                false,
		"SELECT 1; x":                       false,
		"UPDATE t SET":                      false,
		"UPDATE t SET a = 1 WHERE":          false,
		"SELECT 'a":                         false,
		"SELECT 1x":                         false,
		"UPDATE t a SET b = 1":              false,
		"SELECT 1\x00 x y z":                false,
		"DELETE FROM t LIMIT 1":             s.Mode().UpdateDeleteLimit,
	}
	for text, want := range tests {
		got, err := s.Valid(t.Context(), []string{text})
		if err != nil {
			t.Fatal(err)
		}
		if got[0] != want {
			t.Errorf("Valid(%q) = %v, want %v", text, got[0], want)
		}
	}
	if s.Mode().UpdateDeleteLimit {
		t.Log("this build takes LIMIT on UPDATE and DELETE")
	}
}
