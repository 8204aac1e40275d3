package flow

import (
	"fmt"

	"github.com/globaltx/globaltx/undo"
)

// State of a flow, or of a service's step in it. Values are stored: do not change.
type State int

const (
	Waiting State = 0 // of a step: nothing was heard of it
	Done    State = 1 // of a step: Do has committed. Of a flow: of all steps
	Failed  State = 2 // of a step: Do has failed for good
	Barred  State = 3 // of a step: Do will not run
	Undone  State = 4 // of a step: Undo has committed. Of a flow: no step is done any more
	Running State = 5 // of a flow: until all are done, or one has failed, or its time is over
	Undoing State = 6 // of a flow: it has failed, and waits until no step is done any more
)

var words = map[State]string{Waiting: "waiting", Done: "done", Failed: "failed", Barred: "barred", Undone: "undone", Running: "running", Undoing: "undoing"}

func (s State) String() string {
	if w, ok := words[s]; ok {
		return w
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// over tells of a step that it will not be done, or not any more.
func (s State) over() bool { return s == Failed || s == Barred || s == Undone }

// names are those of the tables as statements write them: flows and the services they are
// for at the sender, steps at those services.
type names struct{ flow, to, step string }

func namesOf(dialect string) names {
	p := map[string]string{"postgres": "public.", "sqlite": "main."}[dialect]
	return names{p + "gtx_flow", p + "gtx_flow_to", p + "gtx_flow_step"}
}

func (n names) all() []string { return []string{n.flow, n.to, n.step} }

// Schema gives the DDL that Open runs where tables are missing, for a user who may not.
func Schema(d undo.Dialect) []string { return schema(d.Name(), namesOf(d.Name())) }

// schema gives the DDL. Times are microseconds since 1970. In SQLite no table has a rowid of
// its own, which an INSERT would leave in the user's last_insert_rowid().
func schema(dialect string, n names) []string {
	switch dialect {
	case "mysql":
		const (
			tail  = ` ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ROW_FORMAT=DYNAMIC`
			id    = ` CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL`
			name  = ` VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL`
			state = `	state TINYINT NOT NULL,
	error TEXT NOT NULL,
`
		)
		return []string{
			"CREATE TABLE IF NOT EXISTS " + n.flow + " (\n	id" + id + ",\n	sender" + name + ",\n	kind" + name + ",\n" + state +
				"	began BIGINT NOT NULL,\n	deadline BIGINT NOT NULL,\n	due BIGINT NOT NULL,\n	tries INT NOT NULL,\n	ended BIGINT NOT NULL,\n	end_error TEXT NOT NULL,\n" +
				"	header LONGBLOB NOT NULL,\n	body LONGBLOB NOT NULL,\n	PRIMARY KEY (id),\n	KEY gtx_flow_due (sender, state, due),\n	KEY gtx_flow_ended (sender, ended)\n)" + tail,
			"CREATE TABLE IF NOT EXISTS " + n.to + " (\n	flow" + id + ",\n	name" + name + ",\n" + state + "	at BIGINT NOT NULL,\n	PRIMARY KEY (flow, name)\n)" + tail,
			"CREATE TABLE IF NOT EXISTS " + n.step + " (\n	consumer" + name + ",\n	flow" + id + ",\n	sender" + name + ",\n	kind" + name + ",\n" + state +
				"	began BIGINT NOT NULL,\n	at BIGINT NOT NULL,\n	PRIMARY KEY (consumer, flow),\n	KEY gtx_flow_step_at (consumer, at)\n)" + tail,
		}
	case "postgres":
		const (
			word  = ` text COLLATE "C" NOT NULL`
			state = "	state smallint NOT NULL,\n	error text NOT NULL,\n"
		)
		return []string{
			"CREATE TABLE IF NOT EXISTS " + n.flow + " (\n	id" + word + " PRIMARY KEY,\n	sender" + word + ",\n	kind" + word + ",\n" + state +
				"	began bigint NOT NULL,\n	deadline bigint NOT NULL,\n	due bigint NOT NULL,\n	tries integer NOT NULL,\n	ended bigint NOT NULL,\n	end_error text NOT NULL,\n" +
				"	header bytea NOT NULL,\n	body bytea NOT NULL\n)",
			"CREATE INDEX IF NOT EXISTS gtx_flow_due ON " + n.flow + " (sender, state, due)",
			"CREATE INDEX IF NOT EXISTS gtx_flow_ended ON " + n.flow + " (sender, ended)",
			"CREATE TABLE IF NOT EXISTS " + n.to + " (\n	flow" + word + ",\n	name" + word + ",\n" + state + "	at bigint NOT NULL,\n	PRIMARY KEY (flow, name)\n)",
			"CREATE TABLE IF NOT EXISTS " + n.step + " (\n	consumer" + word + ",\n	flow" + word + ",\n	sender" + word + ",\n	kind" + word + ",\n" + state +
				"	began bigint NOT NULL,\n	at bigint NOT NULL,\n	PRIMARY KEY (consumer, flow)\n)",
			"CREATE INDEX IF NOT EXISTS gtx_flow_step_at ON " + n.step + " (consumer, at)",
		}
	default:
		const state = "state INTEGER NOT NULL, error TEXT NOT NULL, "
		return []string{
			"CREATE TABLE IF NOT EXISTS " + n.flow + " (\n	id TEXT NOT NULL PRIMARY KEY, sender TEXT NOT NULL, kind TEXT NOT NULL, " + state +
				"began INTEGER NOT NULL,\n	deadline INTEGER NOT NULL, due INTEGER NOT NULL, tries INTEGER NOT NULL, ended INTEGER NOT NULL, end_error TEXT NOT NULL, header BLOB NOT NULL, body BLOB NOT NULL\n) WITHOUT ROWID",
			"CREATE INDEX IF NOT EXISTS main.gtx_flow_due ON gtx_flow (sender, state, due)",
			"CREATE INDEX IF NOT EXISTS main.gtx_flow_ended ON gtx_flow (sender, ended)",
			"CREATE TABLE IF NOT EXISTS " + n.to + " (\n	flow TEXT NOT NULL, name TEXT NOT NULL, " + state + "at INTEGER NOT NULL,\n	PRIMARY KEY (flow, name)\n) WITHOUT ROWID",
			"CREATE TABLE IF NOT EXISTS " + n.step + " (\n	consumer TEXT NOT NULL, flow TEXT NOT NULL, sender TEXT NOT NULL, kind TEXT NOT NULL, " + state +
				"began INTEGER NOT NULL, at INTEGER NOT NULL,\n	PRIMARY KEY (consumer, flow)\n) WITHOUT ROWID",
			"CREATE INDEX IF NOT EXISTS main.gtx_flow_step_at ON gtx_flow_step (consumer, at)",
		}
	}
}
