package mysql

import "strings"

// semicolons is what a look at a text tells of its semicolons, whatever the modes
// and the character set of the session are.
type semicolons struct {
	// sure: every reading of the text that a server may have finds the same, and no
	// error.
	sure bool
	// several: something stands behind a semicolon, which may be another statement
	// or the body of a procedure.
	several bool
	// tail is the first of the semicolons that only comments follow, -1 where there
	// is none or where readings without an error differ; ends counts them.
	tail, ends int
}

// lookForSemicolons reads a text as a server of the MySQL family would, in each of
// its modes. It is careful, not clever: versioned comments, hints, dollar quotes,
// and bytes that may be half a character are for the server to read. Semicolons and
// blanks at the end are nothing: servers cut them off before they read.
//
// Versioned comments are read as if the server ran them, or left them out.
func lookForSemicolons(text string, versioned bool) semicolons {
	text = strings.TrimRight(text, "; \t\n\v\f\r")
	modes := []semicolonScanner{{single: true, double: true}}
	if strings.IndexByte(text, '\\') >= 0 {
		// ANSI_QUOTES takes the backslash its meaning between double quotes,
		// NO_BACKSLASH_ESCAPES everywhere.
		modes = append(modes, semicolonScanner{single: true}, semicolonScanner{})
	}
	seen, first, blurred := semicolons{sure: true, tail: -1}, true, halves(text)
	for _, m := range modes {
		m.text, m.versioned = text, versioned
		m.run()
		seen.sure = seen.sure && m.sure && !m.open
		blurred = blurred || m.blurred
		switch {
		case m.open: // an error where it is the server's reading
		case first:
			seen.several, seen.tail, seen.ends, first = m.several, m.tail, m.ends, false
		default:
			blurred = blurred || seen.several != m.several || seen.tail != m.tail || seen.ends != m.ends
		}
	}
	if blurred {
		return semicolons{several: seen.several, tail: -1}
	}
	return seen
}

// halves tells whether a byte that would mean something may be the second half of a
// character in Big5, GBK, Shift JIS and the like. No quote of a string and no
// semicolon ever is.
func halves(text string) bool {
	for i := 1; i < len(text); i++ {
		if c := text[i]; (c == '\\' || c == '`') && text[i-1] >= 0x80 {
			return true
		}
	}
	return false
}

// semicolonScanner reads a text in one mode: single and double tell whether a
// backslash escapes between such quotes.
type semicolonScanner struct {
	text           string
	single, double bool
	versioned      bool
	pos            int
	open           bool // a literal or a comment has no end
	blurred        bool // where literals are is not sure
	semicolons
}

func (s *semicolonScanner) run() {
	s.sure, s.tail = true, -1
	for s.pos < len(s.text) {
		s.next()
	}
}

// next reads what begins at pos.
func (s *semicolonScanner) next() {
	c := s.text[s.pos]
	rest := s.text[s.pos:]
	switch {
	case c == ';':
		if s.tail < 0 {
			s.tail = s.pos
		}
		s.ends++
		s.pos++
	case c == 0: // a blank in the middle of a text
		s.sure = false
		s.pos++
	case blank(c):
		s.pos++
	case c == '#', strings.HasPrefix(rest, "--") && s.dashes(rest):
		s.skip(rest, "\n")
	case strings.HasPrefix(rest, "/*"):
		s.comment(rest[2:])
	case strings.HasPrefix(rest, "*/"): // a versioned comment ends
		s.sure = false
		s.pos += 2
	default:
		s.content(c)
	}
}

// dashes tells whether -- begins a comment: before a blank or control character.
func (s *semicolonScanner) dashes(rest string) bool {
	if len(rest) == 2 {
		return true
	}
	if rest[2] >= 0x80 {
		s.sure = false // a blank in some character sets
	}
	return rest[2] <= ' ' || rest[2] == 0x7f
}

// comment moves behind a comment, of which inner is what follows its beginning.
func (s *semicolonScanner) comment(inner string) {
	s.pos += 2
	version := strings.TrimPrefix(strings.TrimPrefix(inner, "M"), "m")
	switch {
	case strings.HasPrefix(version, "!"):
		s.sure = false
		if s.versioned {
			s.pos = len(s.text) - len(strings.TrimLeft(version[1:], "0123456789"))
			return
		}
	case strings.HasPrefix(inner, "+"): // hints: they have quotes
		s.blurred = true
	}
	s.open = s.open || !strings.Contains(inner, "*/")
	s.skip(inner, "*/")
}

// skip moves behind the first end in rest, which begins at pos.
func (s *semicolonScanner) skip(rest, end string) {
	if i := strings.Index(rest, end); i >= 0 {
		s.pos += i + len(end)
		return
	}
	s.pos = len(s.text)
}

// content is what belongs to a statement.
func (s *semicolonScanner) content(c byte) {
	if s.tail >= 0 {
		s.several, s.tail, s.ends = true, -1, 0
	}
	s.pos++
	switch c {
	case '\'', '"', '`':
		s.quoted(c, c == '\'' && s.single || c == '"' && s.double)
	case '$', '\\': // a dollar quote; \N
		s.blurred = true
	}
}

// quoted moves behind the next quote. A doubled one begins the next string.
func (s *semicolonScanner) quoted(quote byte, escapes bool) {
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == quote:
			s.pos++
			return
		case c == '\\' && escapes:
			s.pos++
		}
	}
	s.pos = len(s.text)
	s.open = true
}

func blank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
