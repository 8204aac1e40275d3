package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// preparedBranch waits in a database for the end of its global transaction.
type preparedBranch struct {
	xa.Name
	since time.Time // zero where the server does not tell
}

// prepared lists the prepared branches of the database, or says why it cannot: without a
// privilege, say. SQLite has none.
func (o *operator) prepared(ctx context.Context) (branches []preparedBranch, why string, err error) {
	d, ok := o.dialect.(interface{ XA() xa.Dialect })
	if !ok {
		return nil, "", nil
	}
	query := undo.QueryDB(o.db)
	id, err := query(ctx, "SELECT id FROM gtx_resource WHERE one = 1")
	if err != nil {
		return nil, "", fmt.Errorf("read identity of the database: %w", err)
	}
	if len(id) == 0 {
		return nil, "", nil
	}
	names, err := d.XA().List(ctx, query, gtx.ResourceID(id[0][0]))
	if err != nil && o.dialect.Classify(err) == undo.Denied {
		return nil, err.Error(), nil
	} else if err != nil {
		return nil, "", err
	}
	since := map[string]time.Time{}
	if o.dialect.Name() == "postgres" {
		lines, err := query(ctx, "SELECT gid, CAST(extract(epoch FROM prepared) AS bigint) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()")
		if err != nil {
			return nil, "", fmt.Errorf("read times of prepared branches: %w", err)
		}
		for _, l := range lines {
			var seconds int64
			if _, err := fmt.Sscan(l[1], &seconds); err == nil {
				since[l[0]] = time.Unix(seconds, 0)
			}
		}
	}
	for _, n := range names {
		branches = append(branches, preparedBranch{n, since[n.String()]})
	}
	return branches, "", nil
}

// writePrepared prints a table of them.
func writePrepared(out io.Writer, branches []preparedBranch, why string) error {
	if why != "" {
		_, err := fmt.Fprintf(out, "prepared branches cannot be listed: %s\n", clean(why))
		return err
	}
	if len(branches) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "XID\tPREPARED SINCE\tBRANCH\tGTRID\tBQUAL")
	for _, b := range branches {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", b.XID, stamp(b.since), b.Branch, b.Global(), b.Qualifier())
	}
	return w.Flush()
}
