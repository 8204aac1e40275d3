package sqltext

// upsertAt tells whether ON CONFLICT or ON DUPLICATE KEY UPDATE stands here. ON
// CONFLICT is told from a join on a column of that name by what must follow.
func (p *parser) upsertAt() bool {
	if p.word() != wOn {
		return false
	}
	next := p.toks[p.i+1].word
	if p.family {
		return next == wDuplicate && p.toks[p.i+2].word == wKey && p.toks[p.i+3].word == wUpdate
	}
	return next == wConflict && (p.is(p.i+2, tOpen, '(') || p.toks[p.i+2].word == wOn || p.says(p.i+2, "do"))
}

// upserts reads ON DUPLICATE KEY UPDATE of the MySQL family, ON CONFLICT of
// PostgreSQL, or several of SQLite.
func (p *parser) upserts() *Refusal {
	for p.upsertAt() {
		if p.st.Replace || len(p.st.Upserts) > 0 && p.d != SQLite {
			return rUnknownClause
		}
		from := p.i
		var u Upsert
		var r *Refusal
		if p.family {
			p.known(p.i + 3)
			p.i += 4
			u.Set, u.SetColumns, r = p.assignments()
		} else {
			r = p.onConflict(&u)
		}
		if r != nil {
			return r
		}
		u.Span = p.span(from, p.i)
		p.st.Upserts = append(p.st.Upserts, u)
	}
	return nil
}

// onConflict reads ON CONFLICT [(index) [WHERE ...] | ON CONSTRAINT name]
// DO NOTHING | DO UPDATE SET ... [WHERE ...].
func (p *parser) onConflict(u *Upsert) *Refusal {
	p.known(p.i + 1)
	p.i += 2
	from := p.i
	switch {
	case p.open():
		p.i = p.skip(p.i)
		if p.word() == wWhere {
			p.i++
			if r := p.conflictWhere(); r != nil {
				return r
			}
		}
	case p.word() == wOn && p.d == Postgres && p.says(p.i+1, "constraint") && p.nameAt(p.i+2):
		p.i += 3
	}
	if p.i > from {
		u.Target = p.span(from, p.i)
	}
	if !p.accept("do") {
		return rOnConflict
	}
	if p.accept("nothing") {
		u.Nothing = true
		return nil
	}
	if p.word() != wUpdate || p.toks[p.i+1].word != wSet {
		return rOnConflict
	}
	p.known(p.i)
	p.known(p.i + 1)
	p.i += 2
	var r *Refusal
	if u.Set, u.SetColumns, r = p.assignments(); r != nil {
		return r
	}
	if p.word() == wWhere {
		p.i++
		u.Where, r = p.body()
	}
	return r
}

// conflictWhere reads the condition of an index up to DO. In SQLite a column may
// have that name.
func (p *parser) conflictWhere() *Refusal {
	from := p.i
	for !p.says(p.i, "do") || !p.says(p.i+1, "nothing") && p.toks[p.i+1].word != wUpdate {
		if p.at(tEnd) || p.clauseAt(p.i) {
			return rOnConflict
		}
		p.i = p.skip(p.i)
	}
	_, r := p.bodyFrom(from)
	return r
}
