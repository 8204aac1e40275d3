package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// packet collects the statements of one COM_QUERY. Values of this module stand
// in it as literals that every mode of the session reads alike; the user's
// arguments stay question marks, repeated where a part of his text is, and are
// written by go-sql-driver, which knows the session's quoting.
type packet struct {
	text strings.Builder
	stmt *sqltext.Statement
	in   []driver.NamedValue
	// described: the user has prepared the statement, see described.
	described bool
	args      []driver.NamedValue
	markers   []int // where the question marks of args stand
	n         int   // statements so far
	// temporary: newRowsTable is taken, and must not stay on the session.
	temporary bool
}

// next begins the next statement and gives its index in the results.
func (p *packet) next() int {
	if p.n > 0 {
		p.text.WriteString(";\n")
	}
	p.n++
	return p.n - 1
}

func (p *packet) add(parts ...string) {
	for _, s := range parts {
		p.text.WriteString(s)
	}
}

// user adds a part of the user's text with the arguments it takes.
func (p *packet) user(sp sqltext.Span) {
	from := sp.Start
	for _, h := range p.stmt.In(sp) {
		p.text.WriteString(p.stmt.Text[from:h.Span.Start])
		p.argument(p.in[h.Ordinal-1])
		from = h.Span.End
	}
	p.text.WriteString(p.stmt.Text[from:sp.End])
}

// argument adds what stands for one argument.
func (p *packet) argument(v driver.NamedValue) {
	if p.described {
		var literal string
		if v.Value, literal = described(v.Value); literal != "" {
			p.text.WriteString(literal)
			return
		}
	}
	p.markers = append(p.markers, p.text.Len())
	v.Ordinal = len(p.args) + 1
	p.args = append(p.args, v)
	p.text.WriteByte('?')
}

// exec sends the packet. An error wraps driver.ErrSkip when nothing was sent.
func (p *packet) exec(ctx context.Context, c driver.Conn) (mysql.Result, error) {
	e, ok := c.(driver.ExecerContext)
	if !ok {
		return nil, fmt.Errorf("execute through %T: not a driver.ExecerContext", c)
	}
	text, err := p.sendable()
	if err != nil {
		return nil, err
	}
	res, err := e.ExecContext(ctx, text, p.args)
	if err != nil {
		return nil, err
	}
	r, ok := res.(mysql.Result)
	if !ok {
		// Not a refusal: the statement has run, and must be rolled back.
		return nil, fmt.Errorf("read results: a %T has taken the place of the base driver's mysql.Result: hand that out where its connections are wrapped", res)
	}
	if got := len(r.AllRowsAffected()); got != p.n {
		return nil, fmt.Errorf("read results: %d statements answered, %d were sent", got, p.n)
	}
	return r, nil
}

// sendable gives the text, in which go-sql-driver must find the same question marks.
func (p *packet) sendable() (string, error) {
	text := p.text.String()
	if len(p.args) > 0 && !slices.Equal(p.markers, driverMarkers(text, false)) && !slices.Equal(p.markers, driverMarkers(text, true)) {
		return "", unsupported("placeholder", "the driver would find other question marks in the text than the server means",
			"move comments and literals with quotes or question marks out of the text")
	}
	return text, nil
}

// driverMarkers finds the question marks that go-sql-driver's interpolation
// replaces. It reads text more simply than the server; where the two would
// disagree, an argument would land in the wrong place.
func driverMarkers(text string, noBackslashEscapes bool) []int {
	var found []int
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '?':
			found = append(found, i)
		case '\'', '"':
			i = stringEnd(text, i, !noBackslashEscapes)
		case '`':
			i = after(text, i+1, "`")
		case '#':
			i = after(text, i, "\n")
		case '-':
			if i > 0 && text[i-1] == '-' && (i+1 == len(text) || strings.IndexByte(" \t\r\n", text[i+1]) >= 0) {
				i = after(text, i, "\n")
			}
		case '*':
			if i > 0 && text[i-1] == '/' {
				i = after(text, i+1, "*/")
			}
		}
	}
	return found
}

// stringEnd gives the quote that ends the string which begins at i. A doubled
// quote ends one string and begins the next.
func stringEnd(text string, i int, backslash bool) int {
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] == '\\' && backslash:
			j++
		case text[j] == text[i]:
			return j
		}
	}
	return len(text)
}

// after gives the last byte of the first end in text from i on.
func after(text string, i int, end string) int {
	j := -1
	if i <= len(text) {
		j = strings.Index(text[i:], end)
	}
	if j < 0 {
		return len(text)
	}
	return i + j + len(end) - 1
}
