package sqltext

// otherStatements are the first words of statements that are refused, or
// understood by their first words only.
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
}

// otherStatement reads a statement that has no clauses.
func (p *parser) otherStatement() *Refusal {
	first, second := p.toks[p.i], p.toks[p.i+1]
	if first.word == wShow && p.d != SQLite {
		p.st.Kind = Show
		return nil
	}
	s := p.source(first)
	if len(s) > longestWord {
		return rUnknown
	}
	s = lowerASCII(s)
	switch s {
	case "savepoint", "rollback", "release":
		return p.savepoint()
	case "describe", "desc":
		if !p.family {
			return rUnknown
		}
		return p.explain()
	case "explain":
		return p.explain()
	case "start":
		if !p.says(p.i+1, "transaction") {
			return rAdmin // replication
		}
	case "begin":
		if second.word == wNot { // BEGIN NOT ATOMIC
			return rCompound
		}
	case "do":
		if p.family { // expressions, as a SELECT whose row nobody sees
			p.known(p.i) // with a bracket behind it, it calls nothing
			p.st.Kind = Select
			return nil
		}
	case "set":
		if second.word == wStatement && p.family {
			return rSetStatement
		}
	}
	if r := otherStatements[s]; r != nil {
		return r
	}
	return rUnknown
}
