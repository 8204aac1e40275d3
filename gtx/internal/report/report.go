// Package report is what a service that has joined a global transaction tells
// its caller: the branches, as one line of text that fits into a header of HTTP,
// gRPC and NATS.
//
//	report = XID { SP group }
//	group  = ( "+" | "-" ) resource "/" branch { "," distance }
//
// XID is the text form of gtx.XID: an answer from a cache, or of another call, is
// not taken for one of this transaction. A group of + lists confirmed branches
// at a resource, one of - dead ones, in ascending order: branch is the first, as a
// positive decimal number, and distance what lies between a branch and the one
// before it. So 1000 branches of one database take about 8 KiB, not 60. Groups
// stand in the order of their sign and resource. A report has one text.
package report

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
)

var (
	// ErrBad is returned for a report that is malformed, too long, or of another
	// transaction. Nothing of it may be believed.
	ErrBad = errors.New("gtx: report of branches is not usable")

	// ErrNotJoined is returned where a peer answered with success and without a
	// report: what it did, it did outside the transaction.
	ErrNotJoined = errors.New("gtx: peer did not join the global transaction")
)

const (
	// MaxBranches bounds one report: as many as a transaction may have.
	MaxBranches = 1024
	// MaxSize bounds the text of one report, in bytes.
	MaxSize = 64 << 10

	maxResource = 64
)

// Format writes the report of one call. It returns ErrBad, wrapped, if it would
// be longer than limit bytes, or than what Parse reads.
func Format(xid gtx.XID, confirmed, dead []gtx.BranchRef, limit int) (string, error) {
	if n := len(confirmed) + len(dead); n > MaxBranches {
		return "", fmt.Errorf("%w: %d branches, at most %d", ErrBad, n, MaxBranches)
	}
	b := []byte(xid.String())
	var err error
	if b, err = appendGroups(b, '+', confirmed); err != nil {
		return "", err
	}
	if b, err = appendGroups(b, '-', dead); err != nil {
		return "", err
	}
	if limit = min(limit, MaxSize); len(b) > limit {
		return "", fmt.Errorf("%w: %d branches take %d bytes, at most %d", ErrBad, len(confirmed)+len(dead), len(b), limit)
	}
	return string(b), nil
}

func appendGroups(b []byte, sign byte, refs []gtx.BranchRef) ([]byte, error) {
	refs = slices.SortedFunc(slices.Values(refs), compare)
	var last gtx.BranchRef
	for _, ref := range refs {
		switch {
		case !validResource(string(ref.Resource)) || ref.Branch <= 0 || ref == last:
			return nil, fmt.Errorf("%w: branch %d at resource %.80q cannot be written", ErrBad, ref.Branch, ref.Resource)
		case ref.Resource != last.Resource:
			b = append(b, ' ', sign)
			b = append(b, ref.Resource...)
			b = append(b, '/')
			b = strconv.AppendInt(b, int64(ref.Branch), 10)
		default:
			b = append(b, ',')
			b = strconv.AppendInt(b, int64(ref.Branch-last.Branch), 10)
		}
		last = ref
	}
	return b, nil
}

func compare(a, b gtx.BranchRef) int {
	return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Branch, b.Branch))
}

// Parse reads what Format wrote for xid, and nothing else. Otherwise it returns
// ErrBad, wrapped, and no branches.
func Parse(s string, xid gtx.XID) (confirmed, dead []gtx.BranchRef, err error) {
	if len(s) > MaxSize {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrBad, len(s), MaxSize)
	}
	head, groups, _ := strings.Cut(s, " ")
	if head != xid.String() {
		return nil, nil, fmt.Errorf("%w: it is about %.80q, not %s", ErrBad, head, xid)
	}
	if n := strings.Count(s, "/") + strings.Count(s, ","); n > MaxBranches {
		return nil, nil, fmt.Errorf("%w: %d branches, at most %d", ErrBad, n, MaxBranches)
	}
	seen := map[gtx.BranchRef]bool{}
	for group := range strings.SplitSeq(groups, " ") {
		refs, ok := parseGroup(group)
		for _, ref := range refs {
			ok = ok && !seen[ref]
			seen[ref] = true
		}
		if !ok && s != head {
			return nil, nil, fmt.Errorf("%w: group %.120q", ErrBad, group)
		}
		if strings.HasPrefix(group, "+") {
			confirmed = append(confirmed, refs...)
		} else {
			dead = append(dead, refs...)
		}
	}
	// What is left, the order and the spelling of the numbers, Format knows.
	if again, err := Format(xid, confirmed, dead, MaxSize); err != nil || again != s {
		return nil, nil, fmt.Errorf("%w: it is not in canonical form", ErrBad)
	}
	return confirmed, dead, nil
}

func parseGroup(s string) (refs []gtx.BranchRef, ok bool) {
	if s == "" || s[0] != '+' && s[0] != '-' {
		return nil, false
	}
	resource, numbers, _ := strings.Cut(s[1:], "/")
	var last int64
	for number := range strings.SplitSeq(numbers, ",") {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt64-last {
			return nil, false
		}
		last += n
		refs = append(refs, gtx.BranchRef{Resource: gtx.ResourceID(resource), Branch: gtx.BranchID(last)})
	}
	return refs, validResource(resource)
}

// validResource keeps out whatever would break a header or the grammar.
func validResource(s string) bool {
	if s == "" || len(s) > maxResource {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
