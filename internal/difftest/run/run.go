// Package run puts texts through sqltext, a reference parser and a live server,
// and counts what they say of each other.
package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/mutate"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Config is one run. Oracle and Server are called once for each worker.
type Config struct {
	Name    string // of the report
	Dialect sqltext.Dialect
	Mode    sqltext.Mode
	Version int // of Postgres, for what is generated; 0 is the oldest
	Oracle  func() difftest.Oracle
	Server  func(context.Context) (difftest.Server, error)

	// Texts gives worker w of Workers its texts; false ends them. It is called
	// once for each worker, and what it gives only by that worker.
	Texts func(w int) func() (string, bool)
	// Workers is how many run at once, each with its own oracle and server; 0 is 1.
	Workers int
	// Target ends the run when so many statements that the server accepts were
	// compared, each worker doing its part; 0 is as long as there are texts.
	Target int
	// Most ends the run after so many texts in any case; 0 is 50 for each of
	// Target, or no limit.
	Most int
	// SampleRefused sends every n-th refused text to the server; 0 sends none.
	SampleRefused int
}

// batch is how many texts go to the server at once.
const batch = 256

// Run does a run. An error is that of a server; what the report found wrong is
// in Report.Misreads.
func Run(ctx context.Context, c Config) (*Report, error) {
	workers := max(c.Workers, 1)
	if c.Most == 0 {
		c.Most = 50 * c.Target
	}
	parts := make([]*Report, workers)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		parts[w] = newReport(c)
		wg.Go(func() { errs[w] = c.work(ctx, w, share(c.Target, w, workers), share(c.Most, w, workers), parts[w]) })
	}
	wg.Wait()
	total := newReport(c)
	for _, p := range parts {
		total.add(p)
	}
	return total, errors.Join(errs...)
}

// share is what worker w of n does of a whole, so that all do all of it.
func share(whole, w, n int) int { return whole*(w+1)/n - whole*w/n }

// pending is a text that waits for the server's verdict.
type pending struct {
	text    string
	ask     []string // what goes to the server: the text, or each of its statements
	kind    sqltext.Kind
	refusal string // the code, when sqltext refused
	verdict difftest.Verdict
	detail  string
}

func (c *Config) work(ctx context.Context, w, target, most int, r *Report) (err error) {
	oracle := c.Oracle()
	server, err := c.Server(ctx)
	if err != nil {
		return fmt.Errorf("open server %s: %w", c.Name, err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if server.Dialect() != c.Dialect {
		return fmt.Errorf("run %s: the server is of dialect %d, not %d", c.Name, server.Dialect(), c.Dialect)
	}
	var wait []pending
	next, more := c.Texts(w), true
	for more {
		var text string
		if most > 0 && r.Texts >= most {
			more = false
		} else if text, more = next(); more {
			if p, ask := c.read(oracle, text, r); ask {
				wait = append(wait, p)
			}
		}
		if len(wait) < batch && more {
			continue
		}
		if err := c.settle(ctx, oracle, server, wait, r); err != nil {
			return err
		}
		wait = wait[:0]
		if target > 0 && r.Compared() >= target {
			return nil
		}
	}
	return nil
}

// read parses a text and compares it; ask tells whether the server's verdict is
// wanted.
func (c *Config) read(oracle difftest.Oracle, text string, r *Report) (p pending, ask bool) {
	r.Texts++
	st, err := parse(text, c.Dialect, c.Mode)
	var refusal *sqltext.Refusal
	switch {
	case errors.As(err, &refusal):
		n := r.refusal(refusal.Code)
		n.Texts++
		if c.SampleRefused == 0 || n.Texts%c.SampleRefused != 0 {
			return p, false
		}
		return pending{text: text, ask: []string{text}, refusal: refusal.Code}, true
	case err != nil:
		r.misread(mutate.Shrink(text, c.Dialect, c.Mode, func(s string) bool {
			_, err := parse(s, c.Dialect, c.Mode)
			return err != nil && !errors.As(err, &refusal)
		}), err.Error())
		return p, false
	}
	r.Understood++
	p = pending{text: text, ask: statements(st), kind: st.Kind}
	p.verdict, p.detail = oracle.Compare(st)
	return p, true
}

// parse is sqltext.Parse; a panic is an error that is no Refusal.
func parse(text string, d sqltext.Dialect, m sqltext.Mode) (st *sqltext.Statement, err error) {
	defer func() {
		if p := recover(); p != nil {
			st, err = nil, fmt.Errorf("parse panics: %v", p)
		}
	}()
	return sqltext.Parse(text, d, m)
}

// statements are what a server must accept each by itself.
func statements(st *sqltext.Statement) []string {
	if st.Kind != sqltext.Several {
		return []string{st.Text}
	}
	var each []string
	for _, part := range st.Parts {
		each = append(each, part.Slice(part.Span))
	}
	return each
}

// settle asks the server about what waits and counts.
func (c *Config) settle(ctx context.Context, oracle difftest.Oracle, server difftest.Server, wait []pending, r *Report) error {
	var ask []string
	for _, p := range wait {
		ask = append(ask, p.ask...)
	}
	valid, err := server.Valid(ctx, ask)
	if err != nil {
		return fmt.Errorf("ask server %s: %w", server.Name(), err)
	}
	for _, p := range wait {
		ok := true
		for range p.ask {
			ok, valid = ok && valid[0], valid[1:]
		}
		if ok && p.refusal == "" && p.verdict == difftest.Misread && len(r.Misreads) < keptMisreads {
			if p, err = c.shrink(ctx, oracle, server, p); err != nil {
				return err
			}
		}
		r.count(p, ok)
	}
	return nil
}

// shrink makes a misread text as short as it can be and still be one.
func (c *Config) shrink(ctx context.Context, oracle difftest.Oracle, server difftest.Server, p pending) (pending, error) {
	var failed error
	p.text = mutate.Shrink(p.text, c.Dialect, c.Mode, func(s string) bool {
		st, err := parse(s, c.Dialect, c.Mode)
		if err != nil || failed != nil {
			return false
		}
		v, detail := oracle.Compare(st)
		if v != difftest.Misread {
			return false
		}
		valid, err := server.Valid(ctx, statements(st))
		if err != nil {
			failed = fmt.Errorf("ask server %s: %w", server.Name(), err)
			return false
		}
		if slices.Contains(valid, false) {
			return false
		}
		p.detail = detail
		return true
	})
	return p, failed
}
