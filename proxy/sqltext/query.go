package sqltext

// selectInBrackets reads a text that begins with a bracket.
func (p *parser) selectInBrackets() *Refusal {
	i := 0
	for p.is(i, tOpen, '(') {
		i++
	}
	if w := p.toks[i].word; w != wSelect && w != wWith {
		return rFirstBracket
	}
	p.st.Kind = Select
	return nil
}

// with reads WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (...), ...
// and the first word of the statement behind it.
func (p *parser) with() *Refusal {
	if p.word() == wRecursive {
		p.i++
	}
	for {
		if !p.nameAt(p.i) {
			return rCTEForm
		}
		p.i++
		if p.open() {
			p.i = p.skip(p.i)
		}
		if p.word() != wAs {
			return rCTEForm
		}
		p.i++
		if p.word() == wNot {
			p.i++
		}
		if p.word() == wMaterialized {
			p.i++
		}
		if !p.open() {
			return rCTEForm
		}
		p.i = p.skip(p.i)
		if !p.is(p.i, tOp, ',') {
			break
		}
		p.i++
	}
	for p.open() {
		p.i++
	}
	switch p.word() {
	case wSelect:
		p.st.Kind = Select
		return nil
	case wInsert, wUpdate, wDelete, wReplace, wMerge:
		return rCTEWrite
	}
	return rCTEForm
}

// otherStatements are the first words of statements that are never captured.
var otherStatements = map[string]*Refusal{
	"begin": rTransaction, "start": rTransaction, "commit": rTransaction, "end": rTransaction,
	"rollback": rTransaction, "abort": rTransaction, "savepoint": rTransaction, "release": rTransaction,
	"xa": rTransaction,
	"if": rCompound, "loop": rCompound, "while": rCompound, "repeat": rCompound, "for": rCompound,
	"signal": rCompound, "resignal": rCompound, "get": rCompound,
	"set": rSet, "reset": rSet, "discard": rSet,
	"analyze": rAnalyze, "analyse": rAnalyze, "explain": rExplain, "describe": rExplain, "desc": rExplain,
	"call": rCall, "do": rDo, "copy": rCopy, "load": rLoad, "import": rLoad,
	"prepare": rPrepare, "execute": rPrepare, "deallocate": rPrepare,
	"create": rDDL, "alter": rDDL, "drop": rDDL, "rename": rDDL, "comment": rDDL, "grant": rDDL,
	"revoke": rDDL, "reassign": rDDL, "refresh": rDDL, "security": rDDL, "truncate": rTruncate,
	"lock": rLock, "unlock": rLock,
	"declare": rCursor, "fetch": rCursor, "move": rCursor, "close": rCursor, "open": rCursor,
	"handler": rHandler, "use": rUse,
	"listen": rNotify, "unlisten": rNotify, "notify": rNotify,
	"pragma": rPragma, "attach": rAttach, "detach": rAttach,
	"vacuum": rAdmin, "reindex": rAdmin, "cluster": rAdmin, "checkpoint": rAdmin, "optimize": rAdmin,
	"check": rAdmin, "checksum": rAdmin, "repair": rAdmin, "flush": rAdmin, "kill": rAdmin, "purge": rAdmin,
	"install": rAdmin, "uninstall": rAdmin, "cache": rAdmin, "change": rAdmin, "stop": rAdmin, "clone": rAdmin,
	"shutdown": rAdmin, "restart": rAdmin, "binlog": rAdmin, "backup": rAdmin, "help": rAdmin,
	"merge": rMerge, "replace": rReplace, "values": rTableSource, "table": rTableSource,
}

// otherStatement refuses a statement by its first word.
func (p *parser) otherStatement(first token) *Refusal {
	s := p.source(first)
	if len(s) > longestWord {
		return rUnknown
	}
	r := otherStatements[lowerASCII(s)]
	second := p.toks[p.i]
	switch {
	case r == nil:
		return rUnknown
	case r == rTransaction && second.word == wNot: // BEGIN NOT ATOMIC
		return rCompound
	case first.word == wSet && second.word == wStatement && p.family:
		return rSetStatement
	}
	return r
}
