package sqltext

// word is a word of SQL that the parser acts on; 0 is every other word.
type word uint8

const (
	wNone word = iota
	wAll
	wAnd
	wAny
	wAs
	wBetween
	wBy
	wCase
	wConflict
	wCross
	wCurrent
	wDefault
	wDelayed
	wDelete
	wDistinct
	wDuplicate
	wElse
	wExcept
	wExists
	wFalse
	wFetch
	wFilter
	wFor
	wForce
	wFrom
	wFull
	wGroup
	wHaving
	wHighPriority
	wHistory
	wIgnore
	wIn
	wIndexed
	wInner
	wInsert
	wIntersect
	wInto
	wIs
	wJoin
	wKey
	wLateral
	wLeft
	wLimit
	wLock
	wLowPriority
	wMaterialized
	wMerge
	wNatural
	wNext
	wNo
	wNot
	wNull
	wOf
	wOffset
	wOn
	wOnly
	wOr
	wOrder
	wOver
	wOverriding
	wPartition
	wProcedure
	wQualify
	wQuick
	wRecursive
	wReplace
	wReturning
	wRight
	wRow
	wSelect
	wSet
	wShare
	wShow
	wSome
	wStatement
	wStraightJoin
	wTable
	wThen
	wTrue
	wUnion
	wUpdate
	wUse
	wUsing
	wValue
	wValues
	wWhen
	wWhere
	wWindow
	wWith
	wWithin
	// Words that call a function without brackets.
	wCurrentCatalog
	wCurrentDate
	wCurrentRole
	wCurrentSchema
	wCurrentTime
	wCurrentTimestamp
	wCurrentUser
	wLocaltime
	wLocaltimestamp
	wSessionUser
	wSystemUser
	wUser
	wUTCDate
	wUTCTime
	wUTCTimestamp
	nWords
)

// wordText is each word in lower case.
var wordText = [nWords]string{
	wAll: "all", wAnd: "and", wAny: "any", wAs: "as", wBetween: "between", wBy: "by", wCase: "case",
	wConflict: "conflict", wCross: "cross", wCurrent: "current", wDefault: "default", wDelayed: "delayed",
	wDelete: "delete", wDistinct: "distinct", wDuplicate: "duplicate", wElse: "else", wExcept: "except",
	wExists: "exists", wFalse: "false", wFetch: "fetch", wFilter: "filter", wFor: "for", wForce: "force",
	wFrom: "from", wFull: "full", wGroup: "group", wHaving: "having", wHighPriority: "high_priority",
	wHistory: "history", wIgnore: "ignore", wIn: "in", wIndexed: "indexed", wInner: "inner", wInsert: "insert",
	wIntersect: "intersect", wInto: "into", wIs: "is", wJoin: "join", wKey: "key", wLateral: "lateral",
	wLeft: "left", wLimit: "limit", wLock: "lock", wLowPriority: "low_priority", wMaterialized: "materialized",
	wMerge: "merge", wNatural: "natural", wNext: "next", wNo: "no", wNot: "not", wNull: "null", wOf: "of",
	wOffset: "offset", wOn: "on", wOnly: "only", wOr: "or", wOrder: "order", wOver: "over",
	wOverriding: "overriding", wPartition: "partition", wProcedure: "procedure", wQualify: "qualify", wQuick: "quick", wRecursive: "recursive",
	wReplace: "replace", wReturning: "returning", wRight: "right", wRow: "row", wSelect: "select",
	wSet: "set", wShare: "share", wShow: "show", wSome: "some", wStatement: "statement", wStraightJoin: "straight_join",
	wTable: "table", wThen: "then", wTrue: "true", wUnion: "union", wUpdate: "update", wUse: "use",
	wUsing: "using", wValue: "value", wValues: "values", wWhen: "when", wWhere: "where", wWindow: "window",
	wWith: "with", wWithin: "within",
	wCurrentCatalog: "current_catalog", wCurrentDate: "current_date", wCurrentRole: "current_role",
	wCurrentSchema: "current_schema", wCurrentTime: "current_time", wCurrentTimestamp: "current_timestamp",
	wCurrentUser: "current_user", wLocaltime: "localtime", wLocaltimestamp: "localtimestamp",
	wSessionUser: "session_user", wSystemUser: "system_user", wUser: "user", wUTCDate: "utc_date", wUTCTime: "utc_time",
	wUTCTimestamp: "utc_timestamp",
}

const longestWord = 20

var words = func() map[string]word {
	m := make(map[string]word, nWords)
	for w, s := range wordText {
		if s != "" {
			m[s] = word(w)
		}
	}
	return m
}()

// lookup gives the word that s is, in any case.
func lookup(s string) word {
	var low [longestWord]byte
	if len(s) > longestWord {
		return wNone
	}
	for i := range len(s) {
		low[i] = lower(s[i])
	}
	return words[string(low[:len(s)])]
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// notName are the words that must be quoted to name a table or be its alias:
// they also begin a clause, or a form that is refused, right there.
var notName = set(wAs, wCross, wDefault, wDelayed, wDelete, wExcept, wFetch, wFor, wForce, wFrom, wFull,
	wGroup, wHaving, wHighPriority, wIgnore, wIndexed, wInner, wInsert, wIntersect, wInto, wJoin, wLateral,
	wLeft, wLimit, wLowPriority, wNatural, wNot, wOn, wOnly, wOr, wOrder, wOverriding, wPartition,
	wReturning, wRight, wSelect, wSet, wStraightJoin, wTable, wUnion, wUpdate, wUse, wUsing, wValues, wWhere,
	wWindow, wWith)

// notCall are the words before "(" that call nothing, in no dialect. Of others
// keywordBefore tells.
var notCall = set(wAll, wAnd, wAs, wBetween, wCase, wDistinct, wElse, wExcept, wExists, wFrom, wGroup, wHaving, wIn,
	wIntersect, wLimit, wNot, wOn, wOr, wReturning, wSelect, wThen, wUnion, wUsing, wValues, wWhen, wWhere)

// niladic are the words that call a function without brackets, by dialect.
var niladic = [SQLite + 1][nWords]bool{
	MySQL:   mysqlNiladic,
	MariaDB: mysqlNiladic,
	Postgres: set(wCurrentCatalog, wCurrentDate, wCurrentRole, wCurrentSchema, wCurrentTime,
		wCurrentTimestamp, wCurrentUser, wLocaltime, wLocaltimestamp, wSessionUser, wSystemUser, wUser),
	SQLite: set(wCurrentDate, wCurrentTime, wCurrentTimestamp),
}

var mysqlNiladic = set(wCurrentDate, wCurrentRole, wCurrentTime, wCurrentTimestamp, wCurrentUser, wLocaltime,
	wLocaltimestamp, wUTCDate, wUTCTime, wUTCTimestamp)

// clause are the reserved words that begin a clause at the outermost level of
// UPDATE and DELETE, by dialect. They come in order and once, or the text is
// refused.
var clause = [SQLite + 1][nWords]bool{
	MySQL:   mysqlClause,
	MariaDB: mysqlClause,
	Postgres: set(wExcept, wFetch, wFor, wFrom, wGroup, wHaving, wIntersect, wInto, wJoin, wLimit, wOffset, wOn,
		wOrder, wReturning, wSelect, wSet, wUnion, wUsing, wWhere, wWindow),
	SQLite: set(wExcept, wFrom, wGroup, wHaving, wIntersect, wInto, wJoin, wLimit, wOn, wOrder, wReturning,
		wSelect, wSet, wUnion, wUsing, wWhere),
}

var mysqlClause = set(wExcept, wFetch, wFor, wFrom, wGroup, wHaving, wInto, wIntersect, wJoin, wLimit, wOn, wOrder,
	wReturning, wSelect, wSet, wStraightJoin, wUnion, wUsing, wWhere)

// selectClause are more words that end a part of a SELECT that is split. Where a
// dialect takes them for names, the SELECT is not split.
var selectClause = set(wInto, wOffset, wProcedure, wQualify, wLock, wWindow)

func set(ws ...word) (s [nWords]bool) {
	for _, w := range ws {
		s[w] = true
	}
	return s
}
