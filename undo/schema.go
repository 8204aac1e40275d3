// Package undo owns the undo log: the rows of gtx_undo that are at once the
// before images and the global locks, the branch headers in gtx_branch, and the
// phase two that removes or restores from them.
package undo

// The tables in each database. Dialects add their types:
//
//	gtx_resource(one, id, version) one row: one = 1, id = the ResourceID, version = SchemaVersion
//	gtx_branch(xid, branch, mode, state, payload, created)   PRIMARY KEY (xid, branch)
//	gtx_undo(tbl, keyh, xid, branch, seq, op, before_img, after_img, schema_fp)
//	                               PRIMARY KEY (tbl, keyh), index on (xid)
//	gtx_operator(at, who, xid, tbl, keyh, action, reason)    PRIMARY KEY (xid, at, tbl, keyh)
//
// xid is the text form of gtx.XID, branch and seq are 64-bit integers, mode is
// ModeAT, state is StateOpen or StateStuck, created is Unix microseconds. keyh is a text of at
// most 64 bytes, before_img and after_img are the dialect's (after_img may be a
// digest and is NULL for deletes; before_img is NULL for inserts, unless the
// dialect keeps the key there). payload is a stuckMark where state is StateStuck.
// gtx_operator is the record of what operators did, at in Unix microseconds.
const (
	// ModeAT is the mode column of a branch with undo rows. Do not change.
	ModeAT = 1
	// StateOpen is the state column of a header. Do not change.
	StateOpen = 0
	// StateStuck is the state column of a header whose rows wait for an operator
	// (rule P8). Do not change.
	StateStuck = 1
)
