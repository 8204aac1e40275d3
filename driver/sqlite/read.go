package sqlite

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"strconv"
	"strings"

	"modernc.org/sqlite"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// hashFunction is SHA-256 in hexadecimal, by which a SELECT finds undo rows:
// SQLite itself has none.
const hashFunction = "gtx_sha256"

// base is the driver that is registered as "sqlite". Functions, collations, hooks and
// virtual tables that a program registers with package sqlite are this driver's: one of
// our own would have none of them. So its connections have hashFunction, too, whoever
// opens them.
var base = func() driver.Driver {
	sqlite.MustRegisterDeterministicScalarFunction(hashFunction, 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		text, ok := args[0].(string)
		if !ok {
			return nil, nil
		}
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:]), nil
	})
	c, err := sqlite.NewConnector("")
	if err != nil {
		panic(err) // an empty DSN has nothing that could be wrong
	}
	return c.Driver()
}()

// KeyHash gives the hash as capture writes it.
func (Dialect) KeyHash(t *undo.Table, ref string) string {
	return hashFunction + "(" + keyIdentity(t, ref) + ")"
}

// Held finds the undo row through the primary key of gtx_undo.
func (d Dialect) Held(t *undo.Table, ref string, own gtx.XID) string {
	return "(SELECT gtx_u.xid FROM main.gtx_undo AS gtx_u WHERE " + others(t.ID, own) + " AND gtx_u.keyh = " + d.KeyHash(t, ref) + ")"
}

// HeldIn asks for whole keys, or for the table.
func (Dialect) HeldIn(id string, own gtx.XID, hashes []string) string {
	text := "SELECT gtx_u.xid FROM main.gtx_undo AS gtx_u WHERE " + others(id, own)
	if hashes != nil {
		text += " AND gtx_u.keyh IN ('" + strings.Join(hashes, "', '") + "')"
	}
	return text + " LIMIT 1"
}

// HeldKeys reads along the primary key of gtx_undo.
func (Dialect) HeldKeys(id string, own gtx.XID, limit int) string {
	return "SELECT gtx_u.keyh FROM main.gtx_undo AS gtx_u WHERE " + others(id, own) + " LIMIT " + strconv.Itoa(limit)
}

// SeesNow is true: a local transaction has one snapshot. No SELECT locks rows.
func (Dialect) SeesNow() bool { return true }

// DirtySession is empty: connections that share a cache, which alone can read so, see
// the whole database of one another.
func (Dialect) DirtySession() string { return "" }

// BoundWait is empty: the database locks as a whole.
func (Dialect) BoundWait() string { return "" }

// others is the condition for undo rows of a table that are not own's.
func others(id string, own gtx.XID) string {
	text := "gtx_u.tbl = " + quote(id)
	if !own.IsZero() {
		text += " AND gtx_u.xid <> " + quote(own.String())
	}
	return text
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
