package pgsql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

var (
	opInsert = literal(string(undo.Insert))
	opUpdate = literal(string(undo.Update))
	opDelete = literal(string(undo.Delete))
)

// update locks the rows, reads the before images of the locked versions, and
// changes exactly those rows, found again by their key. With FROM, the user's
// join is read twice, first to lock and then to change: one row may be joined
// with several, of which the server takes any.
func (w *writer) update() ([]string, error) {
	s, p := w.Stmt, w.p
	from := w.line(s.From)
	if from != "" {
		for _, text := range []string{s.Slice(s.From), s.Slice(s.Where)} {
			if err := w.readTwice(text); err != nil {
				return nil, err
			}
		}
	}
	var keys, names, locked []string
	for n, k := range w.Table.Key {
		keys = append(keys, w.ref+"."+ident(w.Table.Columns[k].Name))
		names = append(names, p+"k"+strconv.Itoa(n))
		locked = append(locked, keys[n]+" AS "+names[n])
	}
	lock, rows, set := " FOR NO KEY UPDATE OF "+w.ref, p+"b", " SET "+w.line(s.Set)
	rekeys := w.rekeys(s.SetColumns)
	if rekeys {
		lock = " FOR UPDATE OF " + w.ref
	}
	hash, key, image, sum := w.images(w.ref)
	comma, again := "", ""
	w.captured = "(SELECT count(*) FROM " + p + "b)"
	if from != "" {
		comma, again = ", "+from, " "+w.word("FROM", s.From)+" "+from
		w.captured = "(SELECT count(DISTINCT " + p + "h) FROM " + p + "b)"
		rows = fmt.Sprintf("(SELECT DISTINCT ON (%[1]sh) %[1]sh, %[1]si, %[1]ss FROM %[1]sb)", p)
	}
	found := "(" + strings.Join(keys, ", ") + ") IN (SELECT " + strings.Join(names, ", ") + " FROM " + p + "b)"
	second := " " + w.word("WHERE", s.Where) + " " + found
	if from != "" {
		second = w.where(found)
	}
	before := w.cte("b", "SELECT "+strings.Join(locked, ", ")+", "+hash+" AS "+p+"h, "+image+" AS "+p+"i, "+sum+" AS "+p+"s FROM "+
		w.target+comma+w.where("")+lock)
	if !rekeys {
		return []string{
			before,
			p + "u (" + w.names("h", "a") + ") AS (UPDATE " + w.target + set + again + second + w.returningOf(hash, sum) + ")",
			w.undo(opUpdate, "b."+p+"i", "b."+p+"s", "x."+p+"a", rows+" AS b JOIN "+p+"u AS x ON x."+p+"h = b."+p+"h"),
		}, nil
	}
	// Which row took which key is not known here: one row may keep its own.
	w.moved = fmt.Sprintf("(SELECT CASE WHEN count(*) > 1 THEN count(*) FILTER (WHERE %[1]so = 'U') ELSE 0 END FROM %[1]sq)", p)
	return append([]string{
		before,
		p + "u (" + w.names("h", "k", "a") + ") AS (UPDATE " + w.target + set + again + second + w.returningOf(hash, key, sum) + ")",
	}, w.undoPairs(rows, p+"u")...), nil
}

// updateModern captures by RETURNING OLD and NEW, in one reading of the text.
func (w *writer) updateModern() []string {
	s, p := w.Stmt, w.p
	w.nameRows()
	text := "UPDATE " + w.target + " SET " + w.line(s.Set)
	if from := w.line(s.From); from != "" {
		text += " " + w.word("FROM", s.From) + " " + from
	}
	text += w.where("")
	if w.rekeys(s.SetColumns) {
		return w.pairs(text)
	}
	hash, _, _, after := w.images(w.new)
	_, _, image, sum := w.images(w.old)
	return []string{
		p + "u (" + w.names("h", "i", "s", "a") + ") AS (" + text + w.returningOf(hash, image, sum, after) + ")",
		w.undo(opUpdate, "x."+p+"i", "x."+p+"s", "x."+p+"a", p+"u AS x"),
	}
}

// delete captures by RETURNING, which gives the version that was deleted.
func (w *writer) delete() []string {
	p, using := w.p, ""
	if from := w.line(w.Stmt.From); from != "" {
		using = " USING " + from
	}
	hash, _, image, sum := w.images(w.ref)
	return []string{
		p + "u (" + w.names("h", "i", "s") + ") AS (DELETE FROM " + w.target + using + w.where("") + w.returningOf(hash, image, sum) + ")",
		w.undo(opDelete, "x."+p+"i", "x."+p+"s", "NULL", p+"u AS x"),
	}
}

// merge captures by RETURNING OLD and NEW.
func (w *writer) merge() []string {
	s := w.Stmt
	w.nameRows()
	return w.pairs(w.piece(sqltext.Span{Start: begin(s), End: s.Whens[len(s.Whens)-1].Span.End}))
}

// pairs runs a statement that may insert, update, delete and change keys.
func (w *writer) pairs(text string) []string {
	p := w.p
	hash, key, _, after := w.images(w.new)
	oldHash, _, image, sum := w.images(w.old)
	guard := func(row, value string) string { // a key of a composite type may be neither NULL nor NOT NULL
		return "CASE WHEN " + row + ".ctid IS NOT NULL THEN " + value + " END"
	}
	// A key that a deleted row leaves to a new one is as good as kept.
	w.moved = fmt.Sprintf("(SELECT count(*) FROM %[1]su AS x JOIN %[1]su AS y ON x.%[1]sg = y.%[1]sh WHERE y.%[1]sg <> x.%[1]sg)", p)
	return append([]string{
		p + "u (" + w.names("h", "k", "a", "g", "i", "s") + ") AS (" + text + w.returningOf(guard(w.new, hash), guard(w.new, key), guard(w.new, after),
			guard(w.old, oldHash), guard(w.old, image), guard(w.old, sum)) + ")",
	}, w.undoPairs(
		fmt.Sprintf("(SELECT %[1]sg AS %[1]sh, %[1]si, %[1]ss FROM %[1]su WHERE %[1]sg IS NOT NULL)", p),
		fmt.Sprintf("(SELECT %[1]sh, %[1]sk, %[1]sa FROM %[1]su WHERE %[1]sh IS NOT NULL)", p))...)
}
