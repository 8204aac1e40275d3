package pgsql

import (
	"context"
	"fmt"

	"github.com/globaltx/globaltx/undo"
)

// A row of a partitioned table has one global lock, whichever of the tables above
// it a statement names: the lock belongs to the topmost of them that has a primary
// key, and the row is captured and restored as a row of that table. A partition
// may order its columns in another way.

// lockTableQuery finds that table, from the oid of a partition or of a partitioned
// table. A table above it without a key refuses every write, so that nothing but
// this one leads to the row.
const lockTableQuery = `SELECT c.oid::int8, n.nspname, c.relname FROM pg_catalog.pg_partition_ancestors(%[1]s) WITH ORDINALITY AS a (relid, n)
 JOIN pg_catalog.pg_class AS c ON c.oid = a.relid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid = %[1]s OR EXISTS (SELECT FROM pg_catalog.pg_index AS x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid AND x.indimmediate)
 ORDER BY a.n DESC LIMIT 1`

// lockTable gives the oid and the ID of the table that holds the locks of oid's
// rows.
func lockTable(ctx context.Context, q undo.Query, oid string) (lock, id string, err error) {
	rows, err := q(ctx, fmt.Sprintf(lockTableQuery, oid))
	if err != nil {
		return "", "", fmt.Errorf("read partitioned table: %w", err)
	}
	if len(rows) != 1 {
		return "", "", fmt.Errorf("read partitioned table: %d rows", len(rows))
	}
	return rows[0][0], ident(rows[0][1]) + "." + ident(rows[0][2]), nil
}

// checkPartitions refuses a partitioned table for the sake of any table below it.
func checkPartitions(ctx context.Context, q undo.Query, oid string) error {
	rows, err := q(ctx, fmt.Sprintf(relationQuery, "IN (SELECT p.relid FROM pg_catalog.pg_partition_tree("+oid+") AS p)"))
	if err != nil {
		return fmt.Errorf("read partitions: %w", err)
	}
	for _, rel := range rows {
		if rel[0] == oid {
			continue
		}
		if err := refuseRelation(ident(rel[1])+"."+ident(rel[2]), rel); err != nil {
			return err
		}
	}
	return nil
}
