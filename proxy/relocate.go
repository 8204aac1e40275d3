package proxy

import "github.com/globaltx/globaltx/proxy/sqltext"

// relocated gives an error about the text sent as if it were about the user's.
func (c *conn) relocated(err error, sent, text string, at func(offset int) int) error {
	if d, ok := c.res.Dialect.(Relocating); ok && sent != text {
		return d.Relocate(err, sent, text, at)
	}
	return err
}

// relocated gives an error of one of several statements as the server tells it of
// all of them in one text.
func (p *part) relocated(c *conn, err error, text string) error {
	return c.relocated(err, p.text, text, func(offset int) int {
		if offset < 0 {
			return -1
		}
		return p.at + offset
	})
}

// copied is a part of the user's text in one that was made of it.
type copied struct {
	at   int // where it stands
	span sqltext.Span
}

// origin gives where in the user's text an offset comes from, -1 for none.
func origin(list []copied, offset int) int {
	for _, c := range list {
		if n := offset - c.at; n >= 0 && n < c.span.End-c.span.Start {
			return c.span.Start + n
		}
	}
	return -1
}
