package mutate

import (
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Shrink takes tokens out of a text as long as it still does what still asks,
// and gives what is left.
func Shrink(text string, d sqltext.Dialect, m sqltext.Mode, still func(string) bool) string {
	toks := tokens(text, d, m)
	for size := max(1, len(toks)/2); size > 0; {
		removed := false
		for i := 0; i+size <= len(toks); {
			less := slices.Concat(toks[:i], toks[i+size:])
			if still(join(less)) {
				toks, removed = less, true
			} else {
				i++
			}
		}
		if !removed || size > 1 {
			size /= 2
		}
	}
	return join(toks)
}

func join(toks []token) string {
	var b strings.Builder
	for _, t := range toks {
		b.WriteString(t.text)
	}
	return b.String()
}
