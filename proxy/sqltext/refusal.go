package sqltext

// Refusals gives every refusal that Parse can return, in a fixed order. The
// codes are stable: programs and documents may rely on them.
func Refusals() []Refusal {
	all := make([]Refusal, len(refusals))
	for i, r := range refusals {
		all[i] = *r
	}
	return all
}

var refusals []*Refusal

// refuse registers one refusal while the package is initialised. The sentences
// never hold a piece of the text, so they may be logged.
func refuse(code, reason string) *Refusal {
	r := &Refusal{Code: code, Reason: reason}
	refusals = append(refusals, r)
	return r
}

// The text itself.
var (
	rDialect        = refuse("dialect", "the SQL dialect is not known")
	rTooLong        = refuse("too-long", "the text is longer than 1 MiB: send it in smaller statements")
	rEncoding       = refuse("encoding", "the text is not valid UTF-8: send strange bytes as arguments")
	rNUL            = refuse("nul", "the text holds a NUL byte: send it as an argument")
	rEmpty          = refuse("empty", "the text holds no statement")
	rSeveral        = refuse("several-statements", "the text holds several statements: send them one by one")
	rUnterminated   = refuse("unterminated", "a string, a quoted name or a comment does not end")
	rBrackets       = refuse("brackets", "the brackets do not match")
	rDepth          = refuse("depth", "brackets are nested more than 500 deep")
	rCharacter      = refuse("character", "a character outside strings and names belongs to no word of this dialect")
	rNumber         = refuse("number", "a number runs into a word, or a name begins with a digit: put a space between them, or quote the name")
	rPlaceholder    = refuse("placeholder", "a parameter marker has no number that this dialect knows, or runs into a word")
	rVersionComment = refuse("version-comment", "/*! */ and /*M! */ comments are other statements on other servers: write the text without the comment marks")
	rHintComment    = refuse("hint-comment", "/*+ */ hints can change how a statement is evaluated: remove the hint")
	rStringJoin     = refuse("string-continuation", "a string follows an E'' string directly: join them with || or in the program")
	rUnicodeName    = refuse("unicode-name", "names written U&\"...\" are not understood: write the character itself between double quotes")
	rAssignment     = refuse("variable-assignment", "assigning a user variable with := would happen twice: compute the value in the program")
	rName           = refuse("name", "a table, alias or column name was expected: quote it when it is also a word of SQL")
	rNameParts      = refuse("name-parts", "the table name has more than two parts: write table or schema.table")
	rNameSpace      = refuse("name-space", "a word of SQL follows a dot and a space: quote the name or remove the space")
)

// Statements that are not captured at all.
var (
	rUnknown       = refuse("unknown-statement", "the first word begins no statement that a global transaction understands: run it outside")
	rTransaction   = refuse("transaction-control", "the transaction is begun and ended through database/sql, not by SQL text")
	rCompound      = refuse("compound", "a compound statement can hide writes: send its statements one by one")
	rSet           = refuse("set", "SET can change how text is read and rows are captured: set it in the DSN or outside the global transaction")
	rSetStatement  = refuse("set-statement", "SET STATEMENT ... FOR runs another statement under other settings: send the statement alone")
	rAnalyze       = refuse("analyze", "ANALYZE can run the statement that follows it: run it outside the global transaction")
	rExplain       = refuse("explain", "EXPLAIN can run the statement it explains: run it outside the global transaction")
	rCall          = refuse("call", "a procedure can write what is not captured: send its statements from the program")
	rDo            = refuse("do", "DO can write what is not captured: send its statements from the program")
	rCopy          = refuse("copy", "COPY writes rows that are not captured: use INSERT ... VALUES")
	rLoad          = refuse("load", "LOAD writes rows that are not captured: use INSERT ... VALUES")
	rPrepare       = refuse("prepare", "PREPARE and EXECUTE hide the statement they run: prepare through database/sql")
	rDDL           = refuse("ddl", "a change of the schema cannot be undone with the transaction: run it outside")
	rTruncate      = refuse("truncate", "TRUNCATE cannot be undone row by row: use DELETE")
	rLock          = refuse("lock", "LOCK and UNLOCK would change the locks of the transaction: use SELECT ... FOR UPDATE")
	rCursor        = refuse("cursor", "cursors of SQL are not understood: read the rows through database/sql")
	rHandler       = refuse("handler", "HANDLER goes around the transaction: use SELECT")
	rUse           = refuse("use", "USE would change what names mean: name the schema in the statement or in the DSN")
	rNotify        = refuse("notify", "LISTEN and NOTIFY are not undone with the transaction: send messages after it has committed")
	rPragma        = refuse("pragma", "PRAGMA can change how rows are captured: set it in the DSN")
	rAttach        = refuse("attach", "ATTACH and DETACH would change what names mean: run them before the transaction")
	rAdmin         = refuse("admin", "statements that administer the server do not belong to a global transaction: run them outside")
	rMerge         = refuse("merge", "MERGE is not captured: use UPDATE and INSERT")
	rReplace       = refuse("replace", "REPLACE deletes rows that are not captured: use UPDATE, and INSERT when it changed nothing")
	rTableSource   = refuse("values-statement", "VALUES and TABLE as statements are not understood: write SELECT")
	rCTEWrite      = refuse("cte-dml", "WITH in front of INSERT, UPDATE or DELETE is not captured: use a subquery, or read first")
	rCTEForm       = refuse("cte", "the WITH list is not understood: write WITH name AS (SELECT ...) SELECT ...")
	rNestedWrite   = refuse("nested-dml", "a statement that writes stands inside another: send it alone; quote the word if it is a name")
	rInto          = refuse("into", "SELECT ... INTO writes: read the rows and insert them from the program")
	rFirstBracket  = refuse("bracket-statement", "a text that begins with a bracket is understood only as a SELECT")
	rModifier      = refuse("modifier", "LOW_PRIORITY, HIGH_PRIORITY, DELAYED and QUICK are not captured: remove the modifier")
	rIgnore        = refuse("ignore", "IGNORE hides rows that were not written: remove it and handle the error")
	rOrConflict    = refuse("or-conflict", "OR REPLACE, OR IGNORE and their like change rows that are not captured: remove it and handle the error")
	rOnly          = refuse("only", "ONLY is not captured: name the table without it")
	rPartition     = refuse("partition", "PARTITION is not captured: select the rows with WHERE")
	rIndexHint     = refuse("index-hint", "index hints are not captured: remove the hint")
	rPortion       = refuse("for-portion", "FOR PORTION OF changes rows that are not captured: use UPDATE, DELETE and INSERT")
	rSeveralTables = refuse("several-tables", "the statement names several tables: change one table at a time, the others in subqueries")
	rJoin          = refuse("join", "a join as target is not captured: change one table at a time, the others in subqueries")
)

// INSERT, UPDATE and DELETE.
var (
	rInsertForm     = refuse("insert-form", "this form of INSERT is not captured: write INSERT INTO t (columns) VALUES (...)")
	rInsertSelect   = refuse("insert-select", "INSERT ... SELECT is not captured: read the rows and insert them with VALUES")
	rInsertSet      = refuse("insert-set", "INSERT ... SET is not captured: write INSERT INTO t (columns) VALUES (...)")
	rInsertColumn   = refuse("insert-column", "the column list holds something other than plain names: name whole columns")
	rDefaultValues  = refuse("default-values", "a row without a value is not captured: name one column and give it DEFAULT")
	rOnDuplicate    = refuse("on-duplicate", "ON DUPLICATE KEY UPDATE is not captured: use UPDATE, and INSERT when it changed nothing")
	rOnConflict     = refuse("on-conflict", "ON CONFLICT is not captured: use UPDATE, and INSERT when it changed nothing")
	rRowAlias       = refuse("row-alias", "an alias for the new row is not captured: remove it")
	rValuesRow      = refuse("values-row", "VALUES ROW(...) is not captured: write VALUES (...)")
	rValuesCount    = refuse("values-count", "the rows of VALUES do not have as many values as there are columns")
	rValuesForm     = refuse("values-form", "a row of VALUES is not understood: write VALUES (a, b), (c, d)")
	rOverriding     = refuse("overriding", "OVERRIDING is not captured: leave the generated column out or give its value")
	rUpdateForm     = refuse("update-form", "this form of UPDATE is not captured: write UPDATE t SET column = value WHERE ...")
	rUpdateFrom     = refuse("update-from", "UPDATE ... FROM is not captured: take the other table's values from subqueries")
	rSetTarget      = refuse("set-target", "a part of a column, or something that is no column, is assigned: assign whole columns by plain name")
	rDeleteForm     = refuse("delete-form", "this form of DELETE is not captured: write DELETE FROM t WHERE ...")
	rDeleteUsing    = refuse("delete-using", "DELETE ... USING is not captured: select the rows with a subquery in WHERE")
	rDeleteHistory  = refuse("delete-history", "DELETE HISTORY cannot be undone: run it outside the global transaction")
	rOrderBy        = refuse("order-by", "ORDER BY in a statement that writes is not captured: select the keys first, then write by key")
	rLimit          = refuse("limit", "LIMIT in a statement that writes is not captured: select the keys first, then write by key")
	rReturning      = refuse("returning", "MySQL has no RETURNING: read the row with SELECT")
	rReturningWith  = refuse("returning-with", "RETURNING WITH (OLD, NEW) is not captured: return plain columns")
	rCurrentOf      = refuse("current-of", "WHERE CURRENT OF is not captured: select the row by its key")
	rClauseOrder    = refuse("clause-order", "a clause stands twice or out of order; quote the word if it is a name")
	rUnknownClause  = refuse("clause", "a clause that does not belong to this statement is not captured; quote the word if it is a name")
	rMissingClause  = refuse("empty-clause", "a clause has no content")
	rOperatorEnd    = refuse("operator-end", "a clause or value ends in an operator")
	rMissingAliasAs = refuse("alias", "an alias was not understood: write table AS alias")
)
