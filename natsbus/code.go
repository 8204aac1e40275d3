package natsbus

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// ErrRefused is returned when the coordinator refuses a request for good: it is
// invalid, or its XID belongs to another decision log or another process. It
// says nothing about the fate of the XID.
var ErrRefused = errors.New("natsbus: coordinator refused the request")

// VersionError is returned when client and coordinator speak no common version
// of the wire format: one of the two programs must be updated. It matches
// ErrRefused.
type VersionError struct {
	Mine     int // of this program
	Min, Max int // of the coordinator
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("natsbus: this program speaks version %d of the wire format, the coordinator %d to %d", e.Mine, e.Min, e.Max)
}

// Unwrap gives ErrRefused.
func (e *VersionError) Unwrap() error { return ErrRefused }

// code names an error on the wire; its text is for people. Do not reorder.
type code byte

const (
	codeOK          code = 0
	codeNotLeader   code = 1 // ask again or elsewhere
	codeAborted     code = 2
	codeEnded       code = 3
	codeForeign     code = 4
	codeLimit       code = 5
	codeInvalid     code = 6
	codeInternal    code = 7
	codeOverload    code = 8  // not read, ask again
	codeNotOwner    code = 9  // begun by another process
	codeBusy        code = 10 // of Scan: another worker has the lease
	codeUnavailable code = 11 // not now, and not soon enough to ask again
)

func codeOf(err error) code {
	var limit *coordinator.LimitError
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &limit):
		return codeLimit
	case errors.Is(err, coordinator.ErrNotLeader):
		return codeNotLeader
	case errors.Is(err, coordinator.ErrOverload):
		return codeOverload
	case errors.Is(err, gtx.ErrAborted):
		return codeAborted
	case errors.Is(err, gtx.ErrEnded):
		return codeEnded
	case errors.Is(err, coordinator.ErrForeignLog):
		return codeForeign
	case errors.Is(err, coordinator.ErrNotOwner):
		return codeNotOwner
	case errors.Is(err, coordinator.ErrBusy):
		return codeBusy
	case errors.Is(err, coordinator.ErrInvalid):
		return codeInvalid
	case errors.Is(err, gtx.ErrUnavailable):
		return codeUnavailable
	}
	return codeInternal
}

// remoteError has the coordinator's words and local sentinels.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }

// errorOf gives the error of a code as the port promises it.
func errorOf(c code, text string) error {
	var is []error
	switch c {
	case codeOK:
		return nil
	case codeNotLeader:
		is = []error{coordinator.ErrNotLeader}
	case codeOverload:
		is = []error{coordinator.ErrOverload}
	case codeAborted:
		is = []error{gtx.ErrAborted}
	case codeEnded:
		is = []error{gtx.ErrEnded}
	case codeBusy:
		is = []error{coordinator.ErrBusy}
	case codeUnavailable:
		is = []error{gtx.ErrUnavailable}
	case codeForeign:
		is = []error{ErrRefused, coordinator.ErrForeignLog}
	case codeNotOwner:
		is = []error{ErrRefused, coordinator.ErrNotOwner}
	case codeInvalid:
		is = []error{ErrRefused, coordinator.ErrInvalid}
	default:
		is = []error{ErrRefused}
	}
	return &remoteError{text, is}
}

// appendReply writes the code, length and body of one entry of kindReplies.
func appendReply(b []byte, r *coordinator.Reply) []byte {
	if r.Err != nil {
		return appendError(b, r.Err)
	}
	b = append(b, byte(codeOK))
	if r.XID.IsZero() {
		return append(b, 1, byte(r.Status))
	}
	at := len(b)
	b = appendXID(append(b, 0, byte(r.Status)), r.XID)
	b[at] = byte(len(b) - at - 1) // an xid has at most 31 bytes
	return b
}

func appendError(b []byte, err error) []byte {
	text := err.Error()
	c := codeOf(err)
	var limit *coordinator.LimitError
	if errors.As(err, &limit) {
		text = string(binary.AppendUvarint(nil, uint64(limit.Limit))) + limit.What
	}
	text = text[:min(len(text), maxText)]
	b = binary.AppendUvarint(append(b, byte(c)), uint64(len(text)))
	return append(b, text...)
}

func appendStats(b []byte, st coordinator.Stats) []byte {
	body := mustJSON(st)
	b = binary.AppendUvarint(append(b, byte(codeOK)), uint64(len(body)+1))
	return append(append(b, byte(gtx.Pending)), body...)
}

// answer is what a client reads for one request.
type answer struct {
	coordinator.Reply
	Stats *coordinator.Stats
}

// decodeAnswer reads the code and body of one entry. Codes of later programs
// are errors without a sentinel of their own.
func decodeAnswer(o op, c code, body []byte) (answer, error) {
	var a answer
	switch c {
	case codeOK:
		r := reader{b: body}
		a.Status = gtx.Status(r.byte())
		switch {
		case o == opStats && !r.bad:
			if err := json.Unmarshal(r.b, &a.Stats); err != nil || a.Stats == nil {
				return answer{}, fmt.Errorf("%w: stats: %w", errWire, err)
			}
			return a, nil
		case len(r.b) > 0:
			a.XID = r.xid()
		}
		if r.bad || len(r.b) != 0 || a.Status > gtx.Expired || o == opBegin && a.XID.IsZero() {
			return answer{}, fmt.Errorf("%w: answer to %s", errWire, o)
		}
	case codeLimit:
		r := reader{b: body}
		limit := r.uvarint()
		if r.bad {
			return answer{}, fmt.Errorf("%w: answer to %s", errWire, o)
		}
		a.Err = &coordinator.LimitError{Limit: int(limit), What: string(r.b)}
	default:
		a.Err = errorOf(c, string(body))
	}
	return a, nil
}
