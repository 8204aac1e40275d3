package sim

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

var rewrite = flag.Bool("rewrite", false, "write the output of the scripts into testdata")

// violates are the scripts that must break a property, and no other may: what they play
// is not ours.
var violates = map[string]string{"3pc-textbook-partition": "S1"}

// TestScripts runs the stories of how wrong versions of the protocol fail, step
// by step, on the right one. A script is a list of paragraphs: commands, a line
// of dashes, and what happens then. docs/simulation.md lists the commands.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, violation := runScript(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("other output (-rewrite writes it):\n%s", diff)
			}
			var v *Violation
			switch want := violates[strings.TrimSuffix(filepath.Base(file), ".txt")]; {
			case errors.As(violation, &v) && v.Property != want:
				t.Errorf("violates %v", violation)
			case v == nil && want != "":
				t.Errorf("does not violate %s, and nothing else keeps it from that", want)
			}
			if !strings.Contains(got, "\nend\n") {
				t.Error("has no end")
			}
		})
	}
}

// stage is a world that a script directs.
type stage struct {
	t      *testing.T
	w      *World
	actors map[string]*actor
}

func runScript(t *testing.T, text string) (string, error) {
	w := newWorld(options{scripted: true, callTime: 10 * time.Second, machine: coordinator.Config{DoneDelay: 100 * time.Millisecond}}, rand.New(rand.NewPCG(1, 1)))
	w.tracing = true
	s := &stage{t: t, w: w, actors: map[string]*actor{}}
	defer w.close()
	var out strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		commands, _, _ := strings.Cut(paragraph, "\n----")
		out.WriteString(commands + "\n")
		run := false
		for line := range strings.SplitSeq(commands, "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			run = true
			s.command(line)
		}
		if run {
			out.WriteString("----\n" + strings.ReplaceAll(w.trace.String(), fmt.Sprintf("%016x-0-", w.truth.logID), ""))
			w.trace.Reset()
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n"), w.err
}

func (s *stage) command(line string) {
	s.t.Helper()
	words := strings.Fields(line)
	arg := func(i int) string {
		if i >= len(words) {
			s.t.Fatalf("%s: want more words", line)
		}
		return words[i]
	}
	rest := strings.TrimSpace(strings.TrimPrefix(line, words[0]))
	switch words[0] {
	case "set":
		s.set(words[1:])
	case "nodes":
		for _, name := range words[1:] {
			s.w.newNode(name)
		}
	case "databases":
		for _, name := range words[1:] {
			d := s.w.newDatabase(gtx.ResourceID(name), 2)
			d.newWorker("worker-" + name).start()
		}
	case "sites": // databases for the textbook's protocol, without workers
		for _, name := range words[1:] {
			s.w.newDatabase(gtx.ResourceID(name), 2)
		}
	case "textbook":
		s.w.newTextbook(arg(1), s.plan(words[2:]).parts)
	case "cut":
		s.w.island = words[1:]
	case "mend":
		s.w.island = nil
	case "claim":
		for _, wk := range s.database(arg(1)).workers {
			if wk.p != nil && !wk.claim() {
				s.w.tracef("%s is busy", wk.name)
			}
		}
	case "worker": // one more at a database
		s.database(arg(2)).newWorker(arg(1)).start()
	case "lead":
		n := s.node(arg(1))
		if n.m == nil {
			n.start()
			s.run(10 * time.Millisecond)
		}
		n.campaign()
		s.run(20 * time.Millisecond)
	case "start":
		s.node(arg(1)).start()
		s.run(5 * time.Millisecond)
	case "campaign":
		s.node(arg(1)).campaign()
	case "handover":
		s.node(arg(1)).handOver()
	case "crash":
		s.crash(arg(1))
	case "restart":
		s.restart(arg(1))
	case "scan":
		for _, wk := range s.database(arg(1)).workers {
			if wk.p != nil && !wk.scan() {
				s.w.tracef("%s is busy", wk.name)
			}
		}
	case "route": // every request goes there, or again where it may
		s.w.asked = nil
		if rest != "" {
			s.w.asked = s.node(rest)
		}
	case "app":
		s.app(arg(1)).run(s.plan(words[2:]))
	case "plain":
		d, rows := s.rows(arg(2))
		s.app(arg(1)).plain(d, rows[0])
	case "ask":
		s.ask(s.app(arg(1)), arg(2), arg(3))
	case "hold":
		s.w.holds = append(s.w.holds, rest)
	case "free": // holds nothing any more of this kind
		s.free(rest)
	case "release":
		s.each(rest, func(it *item) bool { s.again(it); return false })
	case "copy":
		s.each(rest, func(it *item) bool { s.again(it); return true })
	case "drop":
		s.each(rest, func(it *item) bool { s.w.tracef("dropped: %s", it.text); return false })
	case "run":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			s.t.Fatal(err)
		}
		s.run(d)
	case "show":
		for _, d := range s.w.dbs {
			s.w.tracef("%s: %s", d.id, d.show())
		}
	case "end":
		s.end()
	default:
		s.t.Fatalf("unknown command %q", line)
	}
}

func (s *stage) run(d time.Duration) { s.w.runUntil(s.w.now + d) }

// set changes limits of the coordinators that start later, or the log.
func (s *stage) set(words []string) {
	m := &s.w.opts.machine
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		d, _ := time.ParseDuration(value)
		n, _ := strconv.Atoi(value)
		switch key {
		case "tombstone":
			m.Tombstone = d
		case "window":
			m.ClaimWindow = d
		case "trim":
			m.TrimBytes = n
		case "batch":
			m.MaxBatch = n
		case "fence":
			s.w.opts.fenceBroken = float64(n)
		default:
			s.t.Fatalf("unknown setting %q", word)
		}
	}
}

func (s *stage) node(name string) *node {
	s.t.Helper()
	for _, n := range s.w.nodes {
		if n.name == name {
			return n
		}
	}
	s.t.Fatalf("no node %q", name)
	return nil
}

func (s *stage) database(name string) *database {
	s.t.Helper()
	d := s.w.database(gtx.ResourceID(name))
	if d == nil {
		s.t.Fatalf("no database %q", name)
	}
	return d
}

func (s *stage) app(name string) *actor {
	if s.actors[name] == nil {
		s.actors[name] = s.w.newActor(name, virtualExpiry)
	}
	return s.actors[name]
}

func (s *stage) crash(name string) {
	for _, tb := range s.w.textbooks {
		if tb.name == name {
			tb.crash()
			return
		}
	}
	switch {
	case s.actors[name] != nil:
		s.actors[name].p.crash()
		delete(s.actors, name)
	case s.w.database(gtx.ResourceID(name)) != nil:
		s.database(name).crash()
	case strings.HasPrefix(name, "worker"):
		s.worker(name).crash()
	default:
		s.node(name).crash()
	}
}

func (s *stage) restart(name string) {
	if strings.HasPrefix(name, "worker") {
		s.worker(name).start()
		return
	}
	s.database(name).restart()
}

func (s *stage) worker(name string) *worker {
	for _, d := range s.w.dbs {
		for _, wk := range d.workers {
			if wk.name == name {
				return wk
			}
		}
	}
	s.t.Fatalf("no worker %q", name)
	return nil
}

// rows reads "A0" or "A01": a database and its rows.
func (s *stage) rows(word string) (*database, []int) {
	s.t.Helper()
	var rows []int
	for _, c := range word[1:] {
		rows = append(rows, int(c-'0'))
	}
	return s.database(word[:1]), rows
}

// plan reads parts like "A0", "svc:B1" (done by another process), "xa:B1" (prepared),
// "A0!" (rolled back at the end), and the words xa, 3pc (all of it), bold, giveup and
// think=DURATION.
func (s *stage) plan(words []string) plan {
	var pl plan
	for _, word := range words {
		switch {
		case word == "bold":
			pl.bold = true
		case word == "xa":
			pl.mode = gtx.XA
		case word == "3pc":
			pl.mode = gtx.ThreePhase
		case word == "giveup":
			pl.giveUp = true
		case strings.HasPrefix(word, "think="):
			pl.think, _ = time.ParseDuration(strings.TrimPrefix(word, "think="))
		default:
			var pt part
			if where, mixed := strings.CutPrefix(word, "xa:"); mixed {
				pt.mode, word = gtx.XA, where
			}
			if name, where, remote := strings.Cut(word, ":"); remote {
				pt.remote, word = s.app(name), where
			}
			word, pt.giveUp = strings.CutSuffix(word, "!")
			pt.db, pt.rows = s.rows(word)
			pl.parts = append(pl.parts, pt)
		}
	}
	return pl
}

// ask asks for an XID, "2-1" of this log.
func (s *stage) ask(a *actor, what, xid string) {
	var x gtx.XID
	if _, err := fmt.Sscanf(xid, "%x-%x", &x.Epoch, &x.Seq); err != nil {
		s.t.Fatal(err)
	}
	x.Log = s.w.truth.logID
	s.w.spawn(a.p, func() {
		var st gtx.Status
		var err error
		switch what {
		case "outcome":
			st, err = a.c.Outcome(s.t.Context(), x)
		case "rollback":
			st, err = a.c.Rollback(s.t.Context(), x)
		case "commit":
			st, err = a.c.Commit(s.t.Context(), x, nil, nil)
		case "register":
			d := s.w.dbs[0]
			err = a.c.Register(s.t.Context(), x, s.w.newBranch(d))
		default:
			s.t.Fatalf("cannot ask for %q", what)
		}
		if err != nil {
			s.w.tracef("%s hears of %s: %v", a.name, xid, err)
			return
		}
		s.w.tracef("%s hears of %s: %s", a.name, xid, st)
	})
}

// each goes through what is held; fn tells whether it stays.
func (s *stage) each(text string, fn func(it *item) bool) {
	s.t.Helper()
	held, found := s.w.held, false
	s.w.held = nil
	for _, it := range held {
		if !strings.Contains(it.text, text) {
			s.w.held = append(s.w.held, it)
			continue
		}
		found = true
		if fn(it) {
			s.w.held = append(s.w.held, it)
		}
	}
	if !found {
		s.t.Errorf("nothing held is named %q", text)
	}
}

func (s *stage) again(it *item) {
	s.w.tracef("released: %s", it.text)
	s.w.ord++
	s.w.due.push(&item{at: s.w.now, ord: s.w.ord, fn: it.fn})
}

func (s *stage) free(text string) {
	kept := s.w.holds[:0]
	for _, h := range s.w.holds {
		if h != text {
			kept = append(kept, h)
		}
	}
	s.w.holds = kept
}

// end lets everything come to its end and checks it.
func (s *stage) end() {
	w := s.w
	w.holds, w.asked, w.island = nil, nil, nil
	for _, it := range w.held {
		s.again(it)
	}
	w.held = nil
	w.opts.scripted = false
	w.opts.interleave = 0
	w.tracing = false
	w.heal()
	for _, d := range w.dbs {
		for _, wk := range d.workers {
			wk.scanIn(0)
		}
	}
	limit := w.now + calmTime
	for w.err == nil && !w.idle() && w.now < limit {
		w.runUntil(w.now + 500*time.Millisecond)
	}
	if w.err == nil {
		w.checkEnd()
	}
	w.tracing = true
	for _, f := range w.truth.order {
		st := gtx.Aborted
		if f.committed {
			st = gtx.Committed
		}
		if f.began != "" {
			w.tracef("%s is %s", short(f.xid), st)
		}
	}
	for _, d := range w.dbs {
		w.tracef("%s: %s", d.id, d.show())
	}
}
