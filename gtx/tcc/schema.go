package tcc

import "github.com/globaltx/globaltx/undo"

// The table of guards, in each database that tcc.Open was called for:
//
//	gtx_tcc(xid, branch, action, version, args, created, tries, retry_at, reason)
//	                               PRIMARY KEY (xid, branch)
//
// xid is the text form of gtx.XID; args is JSON in ASCII; created and retry_at are Unix
// microseconds; tries counts failures of Confirm or Cancel, of which reason is the last, as
// the inside of a Go string literal in ASCII.

// Schema gives the DDL that Open runs where the table is missing, for a user who may not.
func Schema(d undo.Dialect) []string { return []string{schema[d.Name()]} }

// schemaOf qualifies the tables in statements, so that neither a search path nor a temporary
// table can stand in for them.
var schemaOf = map[string]string{"mysql": "", "postgres": "public.", "sqlite": "main."}

// schema gives the DDL by the name of the dialect. It may run again and concurrently.
var schema = map[string]string{
	"mysql": `CREATE TABLE IF NOT EXISTS gtx_tcc (
	xid VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	branch BIGINT NOT NULL,
	action VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	version INT NOT NULL,
	args MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	created BIGINT NOT NULL,
	tries INT NOT NULL,
	retry_at BIGINT NOT NULL,
	reason TEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	PRIMARY KEY (xid, branch)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ROW_FORMAT=DYNAMIC`,

	"postgres": `CREATE TABLE IF NOT EXISTS public.gtx_tcc (
	xid text COLLATE "C" NOT NULL,
	branch bigint NOT NULL,
	action text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	args text COLLATE "C" NOT NULL,
	created bigint NOT NULL,
	tries integer NOT NULL,
	retry_at bigint NOT NULL,
	reason text COLLATE "C" NOT NULL,
	PRIMARY KEY (xid, branch)
)`,

	"sqlite": `CREATE TABLE IF NOT EXISTS main.gtx_tcc (
	xid TEXT NOT NULL,
	branch INTEGER NOT NULL,
	action TEXT NOT NULL,
	version INTEGER NOT NULL,
	args TEXT NOT NULL,
	created INTEGER NOT NULL,
	tries INTEGER NOT NULL,
	retry_at INTEGER NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (xid, branch)
) WITHOUT ROWID`,
}
