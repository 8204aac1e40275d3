package gtxhttp

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// HeaderXID names the transaction in a request.
	HeaderXID = "Gtx-Xid"
	// HeaderBranches reports the branches in a response.
	HeaderBranches = "Gtx-Branches"

	// maxBranches and maxReport bound one report. Servers and proxies commonly
	// allow 8 KiB and more of headers; 1000 branches in one call are a mistake.
	maxBranches = 1000
	maxReport   = 64 << 10
	maxResource = 64
)

// requestXID reads the XID of a request; ok is false when there is none.
func requestXID(h http.Header) (xid gtx.XID, ok bool, err error) {
	switch v := h.Values(HeaderXID); len(v) {
	case 0:
		return gtx.XID{}, false, nil
	case 1:
		xid, err = gtx.ParseXID(v[0])
		return xid, true, err
	default:
		return gtx.XID{}, true, fmt.Errorf("read header %s: %d values", HeaderXID, len(v))
	}
}

// formatReport writes the value of HeaderBranches.
func formatReport(xid gtx.XID, confirmed, dead []gtx.BranchRef) (string, error) {
	if n := len(confirmed) + len(dead); n > maxBranches {
		return "", fmt.Errorf("%w: %d branches, at most %d", ErrBadReport, n, maxBranches)
	}
	b := []byte(xid.String())
	for _, list := range []struct {
		sign byte
		refs []gtx.BranchRef
	}{{'+', confirmed}, {'-', dead}} {
		for _, ref := range list.refs {
			if !validResource(string(ref.Resource)) || ref.Branch <= 0 {
				return "", fmt.Errorf("%w: branch %d at resource %.80q cannot be written", ErrBadReport, ref.Branch, ref.Resource)
			}
			b = append(b, ' ', list.sign)
			b = append(b, ref.Resource...)
			b = append(b, '/')
			b = strconv.AppendInt(b, int64(ref.Branch), 10)
		}
	}
	if len(b) > maxReport {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrBadReport, len(b), maxReport)
	}
	return string(b), nil
}

// parseReport reads what formatReport wrote for xid, and nothing else.
func parseReport(s string, xid gtx.XID) (confirmed, dead []gtx.BranchRef, err error) {
	if len(s) > maxReport {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrBadReport, len(s), maxReport)
	}
	parts := strings.Split(s, " ")
	if parts[0] != xid.String() {
		return nil, nil, fmt.Errorf("%w: it is about %.80q, not %s", ErrBadReport, parts[0], xid)
	}
	if len(parts)-1 > maxBranches {
		return nil, nil, fmt.Errorf("%w: %d branches, at most %d", ErrBadReport, len(parts)-1, maxBranches)
	}
	seen := make(map[gtx.BranchRef]bool, len(parts)-1)
	for _, p := range parts[1:] {
		ref, ok := parseRef(p)
		if !ok || seen[ref] {
			return nil, nil, fmt.Errorf("%w: entry %.120q", ErrBadReport, p)
		}
		seen[ref] = true
		if p[0] == '+' {
			confirmed = append(confirmed, ref)
		} else {
			dead = append(dead, ref)
		}
	}
	return confirmed, dead, nil
}

func parseRef(p string) (ref gtx.BranchRef, ok bool) {
	if p == "" || p[0] != '+' && p[0] != '-' {
		return ref, false
	}
	resource, number, _ := strings.Cut(p[1:], "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != number || !validResource(resource) {
		return ref, false
	}
	return gtx.BranchRef{Resource: gtx.ResourceID(resource), Branch: gtx.BranchID(n)}, true
}

// validResource keeps out whatever would break the header or its grammar.
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
