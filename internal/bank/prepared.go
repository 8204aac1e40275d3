package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// Prepared gives the prepared branches of this module in a database, as the server lists
// them: what it knows of package xa is how a branch is named. A server that lets this
// user not look has none of his.
func Prepared(ctx context.Context, s Side) ([]xa.Name, error) {
	var read func(rows scanner) (xa.Name, bool, error)
	var text string
	switch s.Dialect.Name() {
	case "mysql": // of every database of the server
		text, read = "XA RECOVER", readRecovered
	case "postgres":
		text, read = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", readGID
	default:
		return nil, nil
	}
	var id string
	err := s.DB.QueryRowContext(ctx, "SELECT id FROM gtx_resource WHERE one = 1").Scan(&id)
	if s.Dialect.Classify(err) == undo.NoTable || errors.Is(err, sql.ErrNoRows) {
		return nil, nil // no global transaction has been here
	} else if err != nil {
		return nil, fmt.Errorf("read identity of the database: %w", err)
	}
	rows, err := s.DB.QueryContext(ctx, text)
	if s.Dialect.Classify(err) == undo.Denied {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list prepared branches: %w", err)
	}
	defer rows.Close()
	var names []xa.Name
	for rows.Next() {
		n, ok, err := read(rows)
		if err != nil {
			return nil, fmt.Errorf("read prepared branch: %w", err)
		}
		if ok && n.Database == gtx.ResourceID(id) {
			names = append(names, n)
		}
	}
	return names, rows.Err()
}

type scanner interface{ Scan(dest ...any) error }

// readRecovered takes a line of XA RECOVER: format, two lengths, gtrid and bqual in one.
func readRecovered(rows scanner) (xa.Name, bool, error) {
	var format int64
	var global, qualifier int
	var data []byte
	if err := rows.Scan(&format, &global, &qualifier, &data); err != nil {
		return xa.Name{}, false, err
	}
	if format != xa.FormatID || global+qualifier != len(data) {
		return xa.Name{}, false, nil
	}
	n, ok := xa.ParseParts(string(data[:global]), string(data[global:]))
	return n, ok, nil
}

func readGID(rows scanner) (xa.Name, bool, error) {
	var gid string
	if err := rows.Scan(&gid); err != nil {
		return xa.Name{}, false, err
	}
	n, ok := xa.Parse(gid)
	return n, ok, nil
}
