// Package mutate makes statements out of statements: mutants of given ones, and
// a sweep of every keyword through the places where a word can stand. Most
// mutants keep the shape of what they come from, so that a server still accepts
// them and a misread is one that could happen.
package mutate

import (
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Mutator makes an endless row of mutants. The same seeds and seed give the same
// row. It is for one goroutine at a time.
type Mutator struct {
	d     sqltext.Dialect
	m     sqltext.Mode
	rng   *rand.Rand
	seeds [][]token
	words []string
	stock stock
	seen  []uint64
	edits []edit
	total int
}

// seenSlots bounds the memory for telling duplicates; a hash that takes another's
// place lets a duplicate through.
const seenSlots = 1 << 20

// longest is where a mutant no longer grows: a long text tells nothing that two
// short ones do not.
const longest = 600

// New makes a mutator of statements of a dialect, of which there must be at
// least one with a token in it.
func New(d sqltext.Dialect, m sqltext.Mode, seeds []string, seed uint64) *Mutator {
	mu := &Mutator{
		d: d, m: m, rng: rand.New(rand.NewPCG(seed, uint64(d))), words: Keywords(d), seen: make([]uint64, seenSlots),
	}
	for _, text := range seeds {
		if toks := tokens(text, d, m); len(words(toks)) > 0 {
			mu.seeds = append(mu.seeds, toks)
			mu.stock.add(toks)
		}
	}
	mu.edits = edits()
	for _, e := range mu.edits {
		mu.total += e.weight
	}
	return mu
}

// Next gives a mutant; the recent ones are not given again.
func (mu *Mutator) Next() string {
	for {
		text := mu.mutant()
		h := fnv.New64a()
		_, _ = h.Write([]byte(text))
		sum := h.Sum64()
		if slot := &mu.seen[sum%seenSlots]; *slot != sum {
			*slot = sum
			return text
		}
	}
}

func (mu *Mutator) mutant() string {
	toks := append([]token(nil), mu.seeds[mu.rng.IntN(len(mu.seeds))]...)
	for n := mu.steps(); n > 0; n-- {
		if next := mu.edit().make(mu, toks); len(words(next)) > 0 {
			toks = next
		}
	}
	return join(toks)
}

// steps is how many edits make one mutant: mostly few, since what is far from
// every statement is seldom one.
func (mu *Mutator) steps() int {
	switch n := mu.rng.IntN(100); {
	case n < 40:
		return 1
	case n < 70:
		return 2
	case n < 88:
		return 3
	default:
		return 4 + mu.rng.IntN(4)
	}
}

func (mu *Mutator) edit() edit {
	n := mu.rng.IntN(mu.total)
	for _, e := range mu.edits {
		if n -= e.weight; n < 0 {
			return e
		}
	}
	return mu.edits[0]
}

// stock is what the seeds are made of.
type stock struct {
	tokens  [nClasses][]token
	clauses map[string][][]token // the bodies of clauses by their first word
	bracket map[string][][]token // what stands in brackets by the word in front
}

func (s *stock) add(toks []token) {
	if s.clauses == nil {
		s.clauses, s.bracket = make(map[string][][]token), make(map[string][][]token)
	}
	for i, t := range toks {
		s.tokens[t.class] = append(s.tokens[t.class], t)
		if head, start, end, ok := clauseAt(toks, i); ok {
			s.clauses[head] = append(s.clauses[head], toks[start:end])
		}
		if front, end, ok := bracketAt(toks, i); ok {
			s.bracket[front] = append(s.bracket[front], toks[i+1:end])
		}
	}
}

// heads are the words that begin a clause.
var heads = map[string]bool{
	"from": true, "where": true, "set": true, "returning": true, "limit": true, "order": true, "group": true,
	"having": true, "values": true, "select": true, "using": true, "on": true, "into": true, "update": true,
	"delete": true, "insert": true, "union": true, "for": true, "with": true, "replace": true, "merge": true,
	"when": true, "then": true, "and": true, "or": true,
}

// clauseAt tells where the body of the clause stands that begins at token i: up
// to the next clause or bracket of the same depth.
func clauseAt(toks []token, i int) (head string, start, end int, ok bool) {
	head = strings.ToLower(toks[i].text)
	if toks[i].class != keyword || !heads[head] {
		return "", 0, 0, false
	}
	depth := 0
	for end = i + 1; end < len(toks); end++ {
		t := toks[end]
		if t.class == open {
			depth++
		}
		if t.class == closing {
			depth--
		}
		if depth < 0 || depth == 0 && (t.text == ";" || t.class == keyword && heads[strings.ToLower(t.text)]) {
			break
		}
	}
	for end > i+1 && toks[end-1].class == space {
		end--
	}
	return head, i + 1, end, end > i+1
}

// bracketAt tells the word in front of the bracket at token i and where its
// partner is.
func bracketAt(toks []token, i int) (front string, end int, ok bool) {
	if toks[i].class != open {
		return "", 0, false
	}
	for f := i - 1; f >= 0; f-- {
		if toks[f].class == keyword || toks[f].class == op || toks[f].class == compare {
			front = strings.ToLower(toks[f].text)
		}
		if toks[f].class != space {
			break
		}
	}
	depth := 0
	for end = i; end < len(toks); end++ {
		switch toks[end].class {
		case open:
			depth++
		case closing:
			if depth--; depth == 0 {
				return front, end, true
			}
		}
	}
	return "", 0, false
}

// words are the places of the tokens that are not space.
func words(toks []token) []int {
	var at []int
	for i, t := range toks {
		if t.class != space {
			at = append(at, i)
		}
	}
	return at
}
