package inbox

import "github.com/globaltx/globaltx/undo"

// Values of gtx_inbox.state. They are stored: do not change.
const (
	stateMade   = 0 // no message: the inbox has had a durable consumer
	stateDone   = 1 // has taken effect
	stateDead   = 2 // put aside, see gtx_inbox_dead
	stateBarred = 3 // must not take effect any more
)

// madeID is the id of the row with stateMade. No message has it (see messageID).
const madeID = "#made"

// names are those of the tables as statements write them.
type names struct{ inbox, try, dead, undo string }

func namesOf(dialect string) names {
	p := map[string]string{"postgres": "public.", "sqlite": "main."}[dialect]
	return names{p + "gtx_inbox", p + "gtx_inbox_try", p + "gtx_inbox_dead", p + "gtx_undo"}
}

func (n names) all() []string { return []string{n.inbox, n.try, n.dead} }

// Schema gives the DDL that Open runs where tables are missing, for a user who may not.
func Schema(d undo.Dialect) []string { return schema(d.Name(), namesOf(d.Name())) }

// schema gives the DDL. There is no auto-increment column: it would change what the
// user's LAST_INSERT_ID() says. Subject, header and body are bytes, because a message is
// free to hold any.
func schema(dialect string, n names) []string {
	switch dialect {
	case "mysql":
		const tail = ` ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ROW_FORMAT=DYNAMIC`
		const key = `
	consumer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	id VARCHAR(190) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,`
		return []string{
			`CREATE TABLE IF NOT EXISTS ` + n.inbox + ` (` + key + `
	at BIGINT NOT NULL,
	state TINYINT NOT NULL,
	xid VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	PRIMARY KEY (consumer, id),
	KEY gtx_inbox_at (consumer, at)
)` + tail,
			`CREATE TABLE IF NOT EXISTS ` + n.try + ` (` + key + `
	tries INT NOT NULL,
	error TEXT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (consumer, id)
)` + tail,
			`CREATE TABLE IF NOT EXISTS ` + n.dead + ` (` + key + `
	subject BLOB NOT NULL,
	header LONGBLOB NOT NULL,
	body LONGBLOB NOT NULL,
	error TEXT NOT NULL,
	at BIGINT NOT NULL,
	deliveries BIGINT NOT NULL,
	sent TINYINT NOT NULL,
	replay BIGINT NOT NULL,
	PRIMARY KEY (consumer, id),
	KEY gtx_inbox_dead_replay (consumer, replay)
)` + tail,
		}
	case "postgres":
		const key = `
	consumer text COLLATE "C" NOT NULL,
	id text COLLATE "C" NOT NULL,`
		return []string{
			`CREATE TABLE IF NOT EXISTS ` + n.inbox + ` (` + key + `
	at bigint NOT NULL,
	state smallint NOT NULL,
	xid text COLLATE "C" NOT NULL,
	PRIMARY KEY (consumer, id)
)`,
			`CREATE INDEX IF NOT EXISTS gtx_inbox_at ON ` + n.inbox + ` (consumer, at)`,
			`CREATE TABLE IF NOT EXISTS ` + n.try + ` (` + key + `
	tries integer NOT NULL,
	error text NOT NULL,
	at bigint NOT NULL,
	PRIMARY KEY (consumer, id)
)`,
			`CREATE TABLE IF NOT EXISTS ` + n.dead + ` (` + key + `
	subject bytea NOT NULL,
	header bytea NOT NULL,
	body bytea NOT NULL,
	error text NOT NULL,
	at bigint NOT NULL,
	deliveries bigint NOT NULL,
	sent smallint NOT NULL,
	replay bigint NOT NULL,
	PRIMARY KEY (consumer, id)
)`,
			`CREATE INDEX IF NOT EXISTS gtx_inbox_dead_replay ON ` + n.dead + ` (consumer, replay)`,
		}
	default:
		return []string{
			`CREATE TABLE IF NOT EXISTS ` + n.inbox + ` (
	consumer TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, state INTEGER NOT NULL, xid TEXT NOT NULL,
	PRIMARY KEY (consumer, id)
) WITHOUT ROWID`,
			`CREATE INDEX IF NOT EXISTS main.gtx_inbox_at ON gtx_inbox (consumer, at)`,
			`CREATE TABLE IF NOT EXISTS ` + n.try + ` (
	consumer TEXT NOT NULL, id TEXT NOT NULL, tries INTEGER NOT NULL, error TEXT NOT NULL, at INTEGER NOT NULL,
	PRIMARY KEY (consumer, id)
) WITHOUT ROWID`,
			`CREATE TABLE IF NOT EXISTS ` + n.dead + ` (
	consumer TEXT NOT NULL, id TEXT NOT NULL, subject BLOB NOT NULL, header BLOB NOT NULL, body BLOB NOT NULL,
	error TEXT NOT NULL, at INTEGER NOT NULL, deliveries INTEGER NOT NULL, sent INTEGER NOT NULL, replay INTEGER NOT NULL,
	PRIMARY KEY (consumer, id)
)`,
			`CREATE INDEX IF NOT EXISTS main.gtx_inbox_dead_replay ON gtx_inbox_dead (consumer, replay)`,
		}
	}
}
