package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/globaltx/globaltx/internal/bank"
)

// progress shows the counts while they change: one line that is written over
// on a terminal, a line now and then elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	total    int
	begin    time.Time
	width    int // of the line on the terminal
}

func newProgress(w io.Writer, total int) *progress {
	p := &progress{w: w, total: total, begin: time.Now()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			p.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

// watch shows read() until done is closed.
func (p *progress) watch(read func() bank.Counts, done <-chan struct{}) {
	every := 2 * time.Second
	if p.terminal {
		every = 100 * time.Millisecond
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.show(read())
		case <-done:
			p.clear()
			return
		}
	}
}

func (p *progress) show(c bank.Counts) {
	line := fmt.Sprintf("  %d/%d transfers, %d committed, %d aborted, %d undone, %.0f/s",
		c.Ended(), p.total, c.Committed, c.Aborted, c.Undone, float64(c.Ended())/time.Since(p.begin).Seconds())
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = len(line)
}

// clear makes room for ordinary lines.
func (p *progress) clear() {
	if p.terminal && p.width > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.width))
	}
	p.width = 0
}
