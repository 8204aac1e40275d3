package gtxhttp

import (
	"fmt"
	"net/http"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// HeaderXID names the transaction in a request.
	HeaderXID = "Gtx-Xid"
	// HeaderMode tells how the branches of a request's transaction wait for the
	// decision.
	HeaderMode = "Gtx-Mode"
	// HeaderBranches reports the branches in a response.
	HeaderBranches = "Gtx-Branches"
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
