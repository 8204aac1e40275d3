package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// names are the tables as statements of one dialect call them.
type names struct{ box, slot, dead string }

func namesOf(dialect string) names {
	prefix := map[string]string{"postgres": "public.", "sqlite": "main."}[dialect]
	return names{prefix + "gtx_outbox", prefix + "gtx_outbox_slot", prefix + "gtx_outbox_dead"}
}

// schema gives the DDL. slot is slotOf the key, pos the time of Publish in microseconds,
// id breaks ties, okey is "" for a message without a key, size counts the body's bytes.
// In SQLite no table has a rowid of its own, which an INSERT would leave in the user's
// last_insert_rowid(), and messages are one tree: with an index beside it a COMMIT writes
// a quarter more pages. So its key is their order.
func schema(dialect string) []string {
	switch dialect {
	case "mysql":
		const (
			tail    = ` ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ROW_FORMAT=DYNAMIC`
			ascii   = ` CHARACTER SET ascii COLLATE ascii_bin`
			message = `	id CHAR(32)` + ascii + ` NOT NULL,
	slot SMALLINT NOT NULL,
	pos BIGINT NOT NULL,
	subject VARBINARY(1024) NOT NULL,
	okey VARBINARY(255) NOT NULL,
	header MEDIUMBLOB NULL,
	size BIGINT NOT NULL,
	body LONGBLOB NOT NULL,
`
		)
		return []string{
			"CREATE TABLE IF NOT EXISTS gtx_outbox (\n" + message + "	PRIMARY KEY (id),\n	KEY gtx_outbox_order (slot, pos, id)\n)" + tail,
			"CREATE TABLE IF NOT EXISTS gtx_outbox_slot (\n	slot SMALLINT NOT NULL,\n	owner VARCHAR(64)" + ascii + " NOT NULL,\n	until BIGINT NOT NULL,\n	PRIMARY KEY (slot)\n)" + tail,
			"CREATE TABLE IF NOT EXISTS gtx_outbox_dead (\n" + message + "	error BLOB NOT NULL,\n	died BIGINT NOT NULL,\n	PRIMARY KEY (id),\n	KEY gtx_outbox_dead_died (died)\n)" + tail,
		}
	case "postgres":
		const message = `	id text COLLATE "C" PRIMARY KEY,
	slot smallint NOT NULL,
	pos bigint NOT NULL,
	subject text NOT NULL,
	okey text NOT NULL,
	header text,
	size bigint NOT NULL,
	body bytea NOT NULL`
		return []string{
			"CREATE TABLE IF NOT EXISTS public.gtx_outbox (\n" + message + "\n)",
			"CREATE INDEX IF NOT EXISTS gtx_outbox_order ON public.gtx_outbox (slot, pos, id)",
			"CREATE TABLE IF NOT EXISTS public.gtx_outbox_slot (\n	slot smallint PRIMARY KEY,\n	owner text NOT NULL,\n	until bigint NOT NULL\n)",
			"CREATE TABLE IF NOT EXISTS public.gtx_outbox_dead (\n" + message + ",\n	error text NOT NULL,\n	died bigint NOT NULL\n)",
			"CREATE INDEX IF NOT EXISTS gtx_outbox_dead_died ON public.gtx_outbox_dead (died)",
		}
	}
	const message = `	id TEXT NOT NULL,
	slot INTEGER NOT NULL,
	pos INTEGER NOT NULL,
	subject TEXT NOT NULL,
	okey TEXT NOT NULL,
	header TEXT,
	size INTEGER NOT NULL,
	body BLOB NOT NULL`
	return []string{
		"CREATE TABLE IF NOT EXISTS main.gtx_outbox (\n" + message + ",\n	PRIMARY KEY (slot, pos, id)\n) WITHOUT ROWID",
		"CREATE TABLE IF NOT EXISTS main.gtx_outbox_slot (\n	slot INTEGER NOT NULL PRIMARY KEY,\n	owner TEXT NOT NULL,\n	until INTEGER NOT NULL\n) WITHOUT ROWID",
		"CREATE TABLE IF NOT EXISTS main.gtx_outbox_dead (\n" + message + ",\n	error TEXT NOT NULL,\n	died INTEGER NOT NULL,\n	PRIMARY KEY (id)\n) WITHOUT ROWID",
		"CREATE INDEX IF NOT EXISTS main.gtx_outbox_dead_died ON gtx_outbox_dead (died)",
	}
}

// Schema gives the DDL that Open runs where tables are missing, for a user who may not.
func Schema(d undo.Dialect) []string { return schema(d.Name()) }

// create makes the tables and the rows of gtx_outbox_slot where they are missing.
func create(ctx context.Context, db *sql.DB, d undo.Dialect) error {
	ctx = gtx.Detach(ctx)
	n := namesOf(d.Name())
	if err := undo.CreateTables(ctx, db, d, []string{n.box, n.slot, n.dead}, schema(d.Name())); err != nil {
		return err
	}
	var have int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+n.slot).Scan(&have); err != nil {
		return fmt.Errorf("count slots: %w", err)
	}
	if have == slots {
		return nil
	}
	values := make([]string, slots)
	for i := range values {
		values[i] = "(" + strconv.Itoa(i) + ", '', 0)"
	}
	text := "INSERT INTO " + n.slot + " (slot, owner, until) VALUES " + strings.Join(values, ", ")
	switch d.Name() {
	case "mysql":
		text = strings.Replace(text, "INSERT", "INSERT IGNORE", 1)
	default:
		text += " ON CONFLICT (slot) DO NOTHING"
	}
	if _, err := db.ExecContext(ctx, text); err != nil {
		return fmt.Errorf("insert slots: %w", err)
	}
	return nil
}
