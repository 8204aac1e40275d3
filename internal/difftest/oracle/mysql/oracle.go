// Package mysql holds statements of MySQL and MariaDB against the tree of an
// independent parser of that grammar.
//
// A clause is compared by content and by place: its span is parsed again inside
// a small statement of its own, and what is found there must be the sub-tree
// that the parser made of the whole text, node by node and offset by offset.
//
// The parser is MySQL's. What only MariaDB reads stays Unread, but for RETURNING,
// which always stands last: it is blanked out and read as a list of SELECT.
package mysql

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/sqlc-dev/marino/ast"
	"github.com/sqlc-dev/marino/mysql"
	"github.com/sqlc-dev/marino/parser"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

const (
	// maxDepth and maxText keep the parser, which recurses, from ending the
	// process: a stack that is used up cannot be recovered from.
	maxDepth = 500
	maxText  = 64 << 10
)

// Oracle compares with the tree of the reference parser. It is for one
// goroutine at a time.
type Oracle struct {
	parser  *parser.Parser
	mode    mysql.SQLMode
	fillers map[frame]ast.StmtNode // what is around the clause in each frame
}

var _ difftest.Oracle = (*Oracle)(nil)

// New gives an Oracle for MySQL and MariaDB sessions of that mode.
func New(m sqltext.Mode) *Oracle {
	mode, _ := mysql.GetSQLMode(mysql.DefaultSQLMode) // a constant of the package
	if m.ANSIQuotes {
		mode |= mysql.ModeANSIQuotes
	}
	if m.NoBackslashEscapes {
		mode |= mysql.ModeNoBackslashEscapes
	}
	return &Oracle{parser: parser.New(), mode: mode, fillers: map[frame]ast.StmtNode{}}
}

var (
	// errUnread is wrapped by what says nothing about the statement.
	errUnread = errors.New("unread")
	// errNumber is returned for a text in which the parser takes a number for a name.
	errNumber = fmt.Errorf("%w: a number is a name to the parser", errUnread)
)

// Compare is difftest.Oracle.
func (o *Oracle) Compare(st *sqltext.Statement) (difftest.Verdict, string) {
	err := o.compare(st)
	switch {
	case err == nil:
		return difftest.Equal, ""
	case errors.Is(err, errUnread):
		return difftest.Unread, err.Error()
	default:
		return difftest.Misread, err.Error()
	}
}

func (o *Oracle) compare(st *sqltext.Statement) error {
	parts := []*sqltext.Statement{st}
	if st.Kind == sqltext.Several {
		parts = st.Parts
		if len(parts) < 2 {
			return fmt.Errorf("several statements with %d parts", len(parts))
		}
	}
	text := []byte(st.Text)
	for _, part := range parts {
		if part.Text != st.Text {
			return errors.New("a part has another text")
		}
		if err := o.blankReturning(text, part); err != nil {
			return err
		}
	}
	trees, err := o.parse(string(text))
	if err != nil {
		return err
	}
	if len(trees) != len(parts) {
		return fmt.Errorf("%d statements, the parser reads %d", len(parts), len(trees))
	}
	before := 0
	for i, part := range parts {
		c := &comparison{oracle: o, st: part, text: string(text)}
		if err := c.statement(trees[i], before); err != nil {
			return err
		}
		before += len(part.Placeholders)
	}
	if st.Kind == sqltext.Several {
		return sameParams(st, parts)
	}
	return nil
}

// parse gives the trees of the statements in a text.
func (o *Oracle) parse(text string) (trees []ast.StmtNode, err error) {
	if len(text) > maxText || depth(text) > maxDepth {
		return nil, fmt.Errorf("%w: too deep or too long for the parser", errUnread)
	}
	defer func() {
		if p := recover(); p != nil { // as it does on decimals of 39 digits
			trees, err = nil, fmt.Errorf("%w: the parser panics: %v", errUnread, p)
		}
	}()
	o.parser.Reset() // it carries a character set over from a text with an error
	o.parser.SetSQLMode(o.mode)
	trees, _, err = o.parser.ParseSQL(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	if spacedDot.MatchString(text) && slices.ContainsFunc(trees, numberAsName) {
		return nil, errNumber
	}
	return trees, nil
}

// spacedDot finds a name that does not stand right behind its dot. The parser
// then takes the next number for a name, also the 1E of 1E-2.
var spacedDot = regexp.MustCompile(`\.(\s|/\*|--|#)`)

var number = regexp.MustCompile(`^[0-9]+([eE][0-9]*)?$`)

func numberAsName(tree ast.StmtNode) (found bool) {
	walk(tree, func(node any) {
		if c, ok := node.(*ast.ColumnName); ok && number.MatchString(c.Name.O) {
			found = true
		}
	})
	return found
}

// one parses a text of one statement.
func (o *Oracle) one(text string) (ast.StmtNode, error) {
	trees, err := o.parse(text)
	if err != nil {
		return nil, err
	}
	if len(trees) != 1 {
		return nil, fmt.Errorf("%d statements in %q", len(trees), text)
	}
	return trees[0], nil
}

// depth is the deepest nesting of brackets, at least: those in strings count too.
func depth(text string) (deepest int) {
	open := 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			open++
			deepest = max(deepest, open)
		case ')':
			open = max(0, open-1)
		}
	}
	return deepest
}

// sameParams compares what a text with several statements says about its
// placeholders, and its functions, with what its parts say.
func sameParams(st *sqltext.Statement, parts []*sqltext.Statement) error {
	var params []sqltext.Placeholder
	for _, part := range parts {
		params = append(params, part.Placeholders...)
		for _, f := range part.Functions {
			if !slices.Contains(st.Functions, f) {
				return fmt.Errorf("function %s of a part is not listed for the text", f)
			}
		}
	}
	if !slices.Equal(params, st.Placeholders) {
		return fmt.Errorf("placeholders %v, of the parts %v", st.Placeholders, params)
	}
	return nil
}
