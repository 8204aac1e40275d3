package stage

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Trace is what a program saw, line by line.
type Trace struct {
	lines    []string
	database string // its name, which differs from one performance to the next
}

// Note writes a line: what was done, and the values that came of it, as JSON.
func (tr *Trace) Note(what string, values ...any) {
	var b strings.Builder
	b.WriteString(what)
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			text = fmt.Appendf(nil, "%T: %v", v, err)
		}
		b.WriteByte(' ')
		b.Write(text)
	}
	tr.add(b.String())
}

// Failed writes a line about an error that the program expects, with its type and
// its text.
func (tr *Trace) Failed(what string, err error) {
	tr.add(fmt.Sprintf("%s: %T %v", what, err, err))
}

func (tr *Trace) add(line string) {
	if tr.database != "" {
		line = strings.ReplaceAll(line, tr.database, "DATABASE")
	}
	tr.lines = append(tr.lines, line)
}
