package xa

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
)

// FormatID marks the X/Open XIDs of this module: "gtx1" in ASCII. X/Open leaves the
// number to the transaction manager; 0 is OSI CCR's.
const FormatID = 0x67747831

// suffix turns the identity of a database into that of its prepared branches: to the
// coordinator they are a resource of their own, so that what AT branches do costs
// nothing here, and the other way round.
const suffix = "-xa"

// ResourceOf is what the prepared branches of a database are registered under.
func ResourceOf(database gtx.ResourceID) gtx.ResourceID { return database + suffix }

// Database is the reverse of ResourceOf; false for another resource.
func Database(r gtx.ResourceID) (gtx.ResourceID, bool) {
	id, ok := strings.CutSuffix(string(r), suffix)
	return gtx.ResourceID(id), ok && id != ""
}

// Name is what a branch is prepared under.
type Name struct {
	XID      gtx.XID
	Database gtx.ResourceID // as in gtx_resource, not ResourceOf
	Branch   gtx.BranchID
}

// Ref is the branch for the coordinator.
func (n Name) Ref() gtx.BranchRef {
	return gtx.BranchRef{Resource: ResourceOf(n.Database), Branch: n.Branch}
}

// Global is the gtrid of X/Open: the text of the XID, at most 55 of its 64 bytes.
func (n Name) Global() string { return n.XID.String() }

// Qualifier is the bqual of X/Open: database, hyphen, branch in hexadecimal, at most 53
// of its 64 bytes.
func (n Name) Qualifier() string {
	return string(n.Database) + "-" + strconv.FormatInt(int64(n.Branch), 16)
}

// gidPrefix begins the names on PostgreSQL.
const gidPrefix = "gtx:"

// String is the gid on PostgreSQL, gtx:gtrid:bqual, at most 113 of its 200 bytes.
func (n Name) String() string { return gidPrefix + n.Global() + ":" + n.Qualifier() }

// Parse reads what String writes. False: it is not one of this module.
func Parse(gid string) (Name, bool) {
	rest, ok := strings.CutPrefix(gid, gidPrefix)
	if !ok {
		return Name{}, false
	}
	global, qualifier, ok := strings.Cut(rest, ":")
	if !ok {
		return Name{}, false
	}
	return ParseParts(global, qualifier)
}

// ParseParts reads what Global and Qualifier write, and nothing else.
func ParseParts(global, qualifier string) (Name, bool) {
	xid, err := gtx.ParseXID(global)
	i := strings.LastIndexByte(qualifier, '-')
	if err != nil || i <= 0 {
		return Name{}, false
	}
	branch, err := strconv.ParseInt(qualifier[i+1:], 16, 64)
	n := Name{XID: xid, Database: gtx.ResourceID(qualifier[:i]), Branch: gtx.BranchID(branch)}
	if err != nil || branch <= 0 || n.Qualifier() != qualifier || n.Check() != nil {
		return Name{}, false
	}
	return n, true
}

// Check refuses a name that would not fit, or that would need quoting. Dialects may rely
// on it.
func (n Name) Check() error {
	for _, c := range n.Database {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("name prepared branch: identity of the database %q: want a UUID", n.Database)
		}
	}
	if len(n.Database) == 0 || len(n.Database) > 36 || n.Branch <= 0 || n.XID.IsZero() {
		return fmt.Errorf("name prepared branch %q: incomplete or too long", n.String())
	}
	return nil
}
