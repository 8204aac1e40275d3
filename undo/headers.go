package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	headerValues = "(?, ?, ?, ?, ?)"
	insertHeader = "INSERT INTO gtx_branch (xid, branch, mode, state, created) VALUES " + headerValues
)

func headerArgs(xid gtx.XID, b gtx.BranchID) []any {
	return []any{xid.String(), int64(b), ModeAT, StateOpen, time.Now().UnixMicro()}
}

// inXIDs is the condition for xids, at least one, with its arguments.
func inXIDs(xids []gtx.XID) (where string, args []any) {
	args = make([]any, len(xids))
	for i, x := range xids {
		args[i] = x.String()
	}
	if len(xids) == 1 {
		return "xid = ?", args
	}
	return "xid IN (?" + strings.Repeat(", ?", len(xids)-1) + ")", args
}

// Headers implements StoreTx.
func (t *localTx) Headers(ctx context.Context, xids []gtx.XID, lock bool) ([]Header, error) {
	from, suffix := "gtx_branch", ""
	if lock {
		suffix = t.r.forUpdate()
		if t.r.cfg.Dialect.Name() == "mysql" {
			from += " FORCE INDEX (PRIMARY)" // a scan would wait for the headers of strangers
		}
	}
	where, args := inXIDs(xids)
	lines, err := t.query(ctx, t.r.text("SELECT xid, branch FROM "+from+" WHERE "+where+" ORDER BY xid, branch"+suffix), args...)
	if err != nil {
		return nil, fmt.Errorf("read branch headers: %w", err)
	}
	out := make([]Header, len(lines))
	for i, l := range lines {
		xid, xerr := gtx.ParseXID(l[0])
		n, nerr := strconv.ParseInt(l[1], 10, 64)
		if err := errors.Join(xerr, nerr); err != nil {
			return nil, fmt.Errorf("read branch headers: %w", err)
		}
		out[i] = Header{xid, gtx.BranchID(n)}
	}
	return out, nil
}

// Claim implements StoreTx.
func (t *localTx) Claim(ctx context.Context, h Header) (taken bool, err error) {
	_, err = t.exec(ctx, t.r.text(insertHeader), headerArgs(h.XID, h.Branch)...)
	if err != nil && t.r.cfg.Dialect.Classify(err) == Duplicate {
		return true, nil
	}
	return false, err
}

// Guard implements StoreTx.
func (t *localTx) Guard(ctx context.Context, xid gtx.XID, branches []gtx.BranchID) error {
	duplicate := " ON CONFLICT DO NOTHING"
	if t.r.cfg.Dialect.Name() == "mysql" {
		// IGNORE would take a shared lock on the duplicate, and two resolvers with one
		// each would deadlock over the delete.
		duplicate = " ON DUPLICATE KEY UPDATE state = state"
	}
	for some := range slices.Chunk(branches, bulkRows) {
		text, args := insertHeader, headerArgs(xid, some[0])
		for _, b := range some[1:] {
			text, args = text+", "+headerValues, append(args, headerArgs(xid, b)...)
		}
		if _, err := t.exec(ctx, t.r.text(text+duplicate), args...); err != nil {
			return fmt.Errorf("insert guards of branches: %w", err)
		}
	}
	return nil
}

// DeleteHeaders implements StoreTx. Each is named by its full key: one that came
// meanwhile stays.
func (t *localTx) DeleteHeaders(ctx context.Context, headers []Header) error {
	for some := range slices.Chunk(headers, bulkRows) {
		var where strings.Builder
		var args []any
		for i, h := range some {
			switch {
			case i > 0 && h.XID == some[i-1].XID:
				where.WriteString(", ?")
			case i > 0:
				where.WriteString(")) OR ")
				fallthrough
			default:
				where.WriteString("(xid = ? AND branch IN (?")
				args = append(args, h.XID.String())
			}
			args = append(args, int64(h.Branch))
		}
		text := t.deleteFrom("gtx_branch") + where.String() + "))"
		if _, err := t.exec(ctx, t.r.text(text), args...); err != nil {
			return fmt.Errorf("delete branch headers: %w", err)
		}
	}
	return nil
}
