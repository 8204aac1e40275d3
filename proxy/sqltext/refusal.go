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
	rSemicolon      = refuse("semicolon", "a semicolon stands inside brackets")
	rUnterminated   = refuse("unterminated", "a string, a quoted name or a comment does not end")
	rBrackets       = refuse("brackets", "the brackets do not match")
	rDepth          = refuse("depth", "brackets are nested more than 500 deep")
	rCharacter      = refuse("character", "a character outside strings and names belongs to no word of this dialect")
	rNumber         = refuse("number", "a number runs into a word, or a name begins with a digit: put a space between them, or quote the name")
	rPlaceholder    = refuse("placeholder", "a parameter marker has no number that this dialect knows, or runs into a word")
	rVersionComment = refuse("version-comment", "/*! */ and /*M! */ comments are other statements on other servers: write the text without the comment marks")
	rHintComment    = refuse("hint-comment", "a hint in /*+ */ can change what the statement does, or is not known: remove it, or write a comment without the plus sign")
	rStringJoin     = refuse("string-continuation", "a string follows an E'' string directly: join them with || or in the program")
	rUnicodeName    = refuse("unicode-name", "names written U&\"...\" are not understood: write the character itself between double quotes")
	rAssignment     = refuse("variable-assignment", "assigning a user variable with := would happen twice: compute the value in the program")
	rName           = refuse("name", "a table, alias or column name was expected: quote it when it is also a word of SQL")
	rNameParts      = refuse("name-parts", "the table name has more than two parts: write table or schema.table")
	rNameSpace      = refuse("name-space", "a word of SQL follows a dot and a space: quote the name or remove the space")
)

// Statements that are not understood at all.
var (
	rUnknown      = refuse("unknown-statement", "the first word begins no statement that a global transaction understands: run it outside")
	rTransaction  = refuse("transaction-control", "the text begins, ends or sets up a transaction, which is done through database/sql; only SAVEPOINT, ROLLBACK TO and RELEASE with a plain name are understood")
	rCompound     = refuse("compound", "a compound statement can hide writes: send its statements alone")
	rSet          = refuse("set", "SET and RESET change the session: set it in the DSN or outside the global transaction")
	rSetStatement = refuse("set-statement", "SET STATEMENT ... FOR runs another statement under other settings: send the statement alone")
	rAnalyze      = refuse("analyze", "ANALYZE can run the statement that follows it")
	rExplain      = refuse("explain", "EXPLAIN is understood only in front of a statement that is understood itself, and without running it")
	rCall         = refuse("call", "CALL runs a procedure, which can write anything: send its statements from the program")
	rDo           = refuse("do", "DO runs what can write anything: send its statements from the program")
	rCopy         = refuse("copy", "COPY writes rows, or runs a statement, outside the text: use INSERT")
	rLoad         = refuse("load", "LOAD and IMPORT write rows that do not stand in the text: use INSERT")
	rPrepare      = refuse("prepare", "PREPARE and EXECUTE hide the statement they run: prepare through database/sql")
	rDDL          = refuse("ddl", "a change of the schema cannot be undone with the transaction: run it outside")
	rTruncate     = refuse("truncate", "TRUNCATE cannot be undone row by row: use DELETE")
	rLock         = refuse("lock", "LOCK and UNLOCK would change the locks of the transaction: use SELECT ... FOR UPDATE")
	rCursor       = refuse("cursor", "cursors of SQL are not understood: read the rows through database/sql")
	rHandler      = refuse("handler", "HANDLER goes around the transaction: use SELECT")
	rUse          = refuse("use", "USE would change what names mean: name the schema in the statement or in the DSN")
	rNotify       = refuse("notify", "LISTEN and NOTIFY are not undone with the transaction: send messages after it has committed")
	rPragma       = refuse("pragma", "PRAGMA can change how rows are captured: set it in the DSN")
	rAttach       = refuse("attach", "ATTACH and DETACH would change what names mean: run them before the transaction")
	rAdmin        = refuse("admin", "statements that administer the server do not belong to a global transaction: run them outside")
	rCTEForm      = refuse("cte", "the WITH list is not understood: write WITH name AS (SELECT ...) and one statement behind it")
	rNestedWrite  = refuse("nested-dml", "a statement that writes stands inside another where it is not understood: send it alone; quote the word if it is a name")
	rInto         = refuse("into", "SELECT ... INTO writes: read the rows and insert them from the program")
	rFirstBracket = refuse("bracket-statement", "a bracket is understood only around a query")
	rOrConflict   = refuse("or-conflict", "OR is followed by none of ABORT, FAIL, IGNORE, REPLACE, ROLLBACK")
	rPortion      = refuse("for-portion", "FOR PORTION OF also inserts rows: use UPDATE, DELETE and INSERT")
)

// INSERT, MERGE, UPDATE and DELETE.
var (
	rInsertForm        = refuse("insert-form", "this form of INSERT or REPLACE is not understood: write INSERT INTO t (columns) VALUES (...)")
	rInsertColumn      = refuse("insert-column", "the column list holds something other than names of columns")
	rOnConflict        = refuse("on-conflict", "ON CONFLICT is not understood: write ON CONFLICT (columns) DO NOTHING, or DO UPDATE SET ...; in a query, put the condition of a join in brackets")
	rRowAlias          = refuse("row-alias", "an alias for the new row stands where this dialect has none")
	rValuesCount       = refuse("values-count", "the rows of VALUES do not have as many values as there are columns")
	rValuesForm        = refuse("values-form", "a row of VALUES is not understood: write VALUES (a, b), (c, d)")
	rMergeForm         = refuse("merge-form", "this form of MERGE is not understood: write MERGE INTO t USING source ON condition WHEN MATCHED THEN ...")
	rUpdateForm        = refuse("update-form", "this form of UPDATE is not understood here: write UPDATE t SET column = value WHERE ...")
	rSetTarget         = refuse("set-target", "something that is no column of this dialect is assigned: assign columns by name")
	rDeleteForm        = refuse("delete-form", "this form of DELETE is not understood here: write DELETE FROM t WHERE ...")
	rDeleteHistory     = refuse("delete-history", "DELETE HISTORY removes what no query shows: run it outside the global transaction")
	rReturning         = refuse("returning", "MySQL has no RETURNING: read the row with SELECT")
	rCurrentOf         = refuse("current-of", "WHERE CURRENT OF names a row by a cursor: select the row by its key")
	rClauseOrder       = refuse("clause-order", "a clause stands twice or out of order; quote the word if it is a name")
	rUnknownClause     = refuse("clause", "a clause does not belong to this statement in this dialect, or stands at a wrong place; quote the word if it is a name")
	rMissingClause     = refuse("empty-clause", "a clause has no content")
	rOperatorEnd       = refuse("operator-end", "a clause or value ends in an operator")
	rMissingAliasAs    = refuse("alias", "an alias was not understood: write table AS alias")
	rHintForm          = refuse("hint-form", "the index hints at the table are not understood")
	rTableRefs         = refuse("table-references", "the list of joined tables is not understood, or longer than the servers take")
	rTargetName        = refuse("target-name", "a name of a table to change is not that of exactly one joined table in the same spelling: give each table another alias and use it")
	rTargetCTE         = refuse("target-cte", "the table to change has the name of a member of the WITH list: give that another name")
	rUpdateDeleteLimit = refuse("update-delete-limit", "this SQLite is built without ORDER BY and LIMIT in UPDATE and DELETE: select the keys first")
)
