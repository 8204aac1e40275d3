package pgsql

import "strings"

const (
	// schemaName holds the tables of this module. Statements name it, so that a
	// session's search path cannot split one database's locks over two tables.
	schemaName = "public"

	tableBranch = schemaName + ".gtx_branch"
	tableUndo   = schemaName + ".gtx_undo"
	funcImage   = schemaName + ".gtx_image"

	// schemaLock is the advisory lock under which the tables are made. "IF NOT
	// EXISTS" alone fails with 23505 or 42P07 when two sessions run it at once.
	schemaLock = "7453010373645655120"

	// lockTimeout bounds every wait for a lock of a branch whose session sets no
	// bound of its own (rule W5).
	lockTimeout = "10s"
)

// Schema gives the DDL. Each statement may run again and concurrently, and asks
// for no privilege when its object exists.
func (Dialect) Schema() []string {
	return []string{
		ifMissing("to_regclass('"+schemaName+".gtx_resource')",
			`CREATE TABLE IF NOT EXISTS `+schemaName+`.gtx_resource (
	one smallint PRIMARY KEY CHECK (one = 1),
	id text NOT NULL,
	version integer NOT NULL
)`),
		ifMissing("to_regclass('"+tableBranch+"')",
			`CREATE TABLE IF NOT EXISTS `+tableBranch+` (
	xid text COLLATE "C" NOT NULL,
	branch bigint NOT NULL,
	mode smallint NOT NULL,
	state smallint NOT NULL,
	payload bytea,
	created bigint NOT NULL,
	PRIMARY KEY (xid, branch)
)`),
		ifMissing("to_regclass('"+tableUndo+"')",
			`CREATE TABLE IF NOT EXISTS `+tableUndo+` (
	tbl text COLLATE "C" NOT NULL,
	keyh text COLLATE "C" NOT NULL,
	xid text COLLATE "C" NOT NULL,
	branch bigint NOT NULL,
	seq bigint NOT NULL,
	op text COLLATE "C" NOT NULL CHECK (op IN ('I', 'U', 'D')),
	before_img text,
	before_sum text COLLATE "C",
	after_img text COLLATE "C",
	schema_fp text COLLATE "C" NOT NULL,
	PRIMARY KEY (tbl, keyh)
)`,
			`CREATE INDEX IF NOT EXISTS gtx_undo_xid ON `+tableUndo+` (xid)`),
		ifMissing("to_regclass('"+schemaName+".gtx_operator')",
			`CREATE TABLE IF NOT EXISTS `+schemaName+`.gtx_operator (
	at bigint NOT NULL,
	who text NOT NULL,
	xid text COLLATE "C" NOT NULL,
	tbl text COLLATE "C" NOT NULL,
	keyh text COLLATE "C" NOT NULL,
	action text COLLATE "C" NOT NULL,
	reason text NOT NULL,
	PRIMARY KEY (xid, at, tbl, keyh)
)`),
		ifMissing("to_regprocedure('"+funcImage+"(anyelement)')",
			`CREATE OR REPLACE FUNCTION `+funcImage+`(anyelement) RETURNS text LANGUAGE sql STABLE
	SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres' SET timezone = 'UTC'
	SET extra_float_digits = 3 SET bytea_output = 'hex' SET xmloption = 'content'
	SET lc_monetary = 'C' SET search_path = pg_catalog, pg_temp
	AS 'SELECT $1::pg_catalog.text'`),
	}
}

// ifMissing runs ddl in one block, alone, when the object is not there. The lookup
// saves users who may not create anything from being asked for the privilege;
// the ddl, under the lock, looks again by itself.
func ifMissing(lookup string, ddl ...string) string {
	return "DO $gtx$ BEGIN\nIF pg_catalog." + lookup + " IS NULL THEN\n" +
		"PERFORM pg_catalog.pg_advisory_xact_lock(" + schemaLock + ");\n" +
		strings.Join(ddl, ";\n") + ";\nEND IF;\nEND $gtx$"
}
