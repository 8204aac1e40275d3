package gtxnats

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// HeaderXID names the transaction in a request.
	HeaderXID = "Gtx-Xid"
	// HeaderMode tells how the branches of a request's transaction wait for the
	// decision.
	HeaderMode = "Gtx-Mode"
	// HeaderBranches reports the branches in a reply.
	HeaderBranches = "Gtx-Branches"

	// The names that package micro gives an error of a service.
	headerError     = "Nats-Service-Error"
	headerErrorCode = "Nats-Service-Error-Code"
)

// values are those of all headers with this name in any case. NATS tells headers
// apart by case, but clients exist that change it, and an XID that is not seen
// would leave work outside its transaction.
func values(h nats.Header, name string) (found []string) {
	for _, key := range slices.Sorted(maps.Keys(h)) {
		if strings.EqualFold(key, name) {
			found = append(found, h[key]...)
		}
	}
	return found
}

// with gives a message like msg (nil: an empty one) with one value of a header
// that belongs to this package.
func with(msg *nats.Msg, name, value string) *nats.Msg {
	out := &nats.Msg{Header: nats.Header{}}
	if msg != nil {
		out.Subject, out.Data = msg.Subject, msg.Data
		for key, v := range msg.Header {
			if !strings.EqualFold(key, name) {
				out.Header[key] = slices.Clone(v)
			}
		}
	}
	if value != "" {
		out.Header.Set(name, value)
	}
	return out
}

// requestXID reads the XID of a request; ok is false when there is none.
func requestXID(h nats.Header) (xid gtx.XID, ok bool, err error) {
	switch v := values(h, HeaderXID); len(v) {
	case 0:
		return gtx.XID{}, false, nil
	case 1:
		xid, err = gtx.ParseXID(v[0])
		return xid, true, err
	default:
		return gtx.XID{}, true, fmt.Errorf("read header %s: %d values", HeaderXID, len(v))
	}
}

// errorOf reads the error in a reply.
func errorOf(reply *nats.Msg) error {
	code, text := reply.Header.Get(headerErrorCode), reply.Header.Get(headerError)
	if code == "" && text == "" {
		return nil
	}
	return &Error{Code: code, Description: text, Reply: reply}
}
