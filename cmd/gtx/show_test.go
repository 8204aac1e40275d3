package main

import (
	"strings"
	"testing"
)

func TestPlainValue(t *testing.T) {
	for value, want := range map[string]string{
		"10":                           "10",
		"two words":                    "two words",
		"żółw":                         "żółw",
		"":                             `""`,
		"NULL":                         `"NULL"`,
		" x":                           `" x"`,
		"a\x1b[2Jb":                    `"a\x1b[2Jb"`,
		"a\nb":                         `"a\nb"`,
		"\xff":                         `"\xff"`,
		"a\u202eb":                     `"a\u202eb"`,
		strings.Repeat("ż", 150):       strings.Repeat("ż", 100) + "... (300 bytes)",
		strings.Repeat("x", 200):       strings.Repeat("x", 200),
		"x" + strings.Repeat("ż", 100): "x" + strings.Repeat("ż", 99) + "... (201 bytes)",
	} {
		if got := plainValue(false)(value); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
	if long := strings.Repeat("x", 1000); plainValue(true)(long) != long {
		t.Error("--full does not print a value to its end")
	}
}
