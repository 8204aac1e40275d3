package natsbus

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// Subjects. Requests go to svcPrefix plus an operation, decisions come on
// evtPrefix plus the token of a resource, the log is the subject of the stream.
const (
	svcPrefix  = "gtx.svc."
	evtPrefix  = "gtx.evt."
	svcQueue   = "gtx"
	rmQueue    = "rm"
	streamName = "GTX_LOG"
	logSubject = "gtx.log"
	// epochSubject tells coordinators that a new epoch has begun.
	epochSubject = "gtx.ctl.epoch"

	// maxBody bounds a request, in bytes. 4096 branches fit.
	maxBody = 900 << 10
)

// Operations.
const (
	opBegin    = "begin"
	opRegister = "register"
	opCommit   = "commit"
	opRollback = "rollback"
	opOutcome  = "outcome"
	opAwait    = "await"
	opAck      = "ack"
	opHello    = "hello"
	opStats    = "stats"
)

// request is the body of every operation; each uses the fields it needs.
type request struct {
	XID       gtx.XID         `json:"x,omitzero"`
	Name      string          `json:"n,omitempty"`
	TimeoutMS int64           `json:"t,omitempty"`
	Ref       gtx.BranchRef   `json:"b,omitzero"`
	Confirmed []gtx.BranchRef `json:"c,omitempty"`
	Dead      []gtx.BranchRef `json:"d,omitempty"`
	Resource  gtx.ResourceID  `json:"r,omitempty"`
	First     gtx.XID         `json:"f,omitzero"` // of Begin
	Waiter    gtx.XID         `json:"w,omitzero"` // of Await, XID is the holder
	Nonce     uint64          `json:"o,omitempty"`
}

// reply answers a request.
type reply struct {
	XID    gtx.XID            `json:"x,omitzero"`
	Status gtx.Status         `json:"s,omitempty"`
	Code   code               `json:"e,omitempty"`
	Text   string             `json:"m,omitempty"`
	Stats  *coordinator.Stats `json:"st,omitempty"`
}

// push is the body of an event.
type push struct {
	XID      gtx.XID        `json:"x"`
	Status   gtx.Status     `json:"s"`
	Branches []gtx.BranchID `json:"b,omitempty"`
}

// code names an error on the wire; its text is for people.
type code string

const (
	codeOK        code = ""
	codeNotLeader code = "not-leader" // ask again or elsewhere
	codeAborted   code = "aborted"
	codeEnded     code = "ended"
	codeForeign   code = "foreign-log"
	codeLimit     code = "limit"
	codeInvalid   code = "invalid"
	codeInternal  code = "internal"
)

// ErrRefused is returned when the coordinator refuses a request for good: it is
// invalid, or its XID belongs to another decision log. It says nothing about
// the fate of the XID.
var ErrRefused = errors.New("natsbus: coordinator refused the request")

func codeOf(err error) code {
	var limit *coordinator.LimitError
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &limit):
		return codeLimit
	case errors.Is(err, coordinator.ErrNotLeader):
		return codeNotLeader
	case errors.Is(err, gtx.ErrAborted):
		return codeAborted
	case errors.Is(err, gtx.ErrEnded):
		return codeEnded
	case errors.Is(err, coordinator.ErrForeignLog):
		return codeForeign
	case errors.Is(err, coordinator.ErrInvalid):
		return codeInvalid
	}
	return codeInternal
}

// err gives the error of a reply as the port promises it.
func (r *reply) err() error {
	switch r.Code {
	case codeOK:
		return nil
	case codeAborted:
		return &remoteError{r.Text, gtx.ErrAborted}
	case codeEnded:
		return &remoteError{r.Text, gtx.ErrEnded}
	case codeNotLeader, codeLimit:
		return &remoteError{r.Text, gtx.ErrUnavailable}
	case codeForeign:
		return &remoteError{r.Text, errors.Join(ErrRefused, coordinator.ErrForeignLog)}
	}
	return &remoteError{r.Text, ErrRefused}
}

// remoteError has the coordinator's words and a local sentinel.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// subjectOf gives the event subject of r. An ID that is a subject token already
// stays readable; "=" marks an encoded one, so no two IDs share a subject.
func subjectOf(r gtx.ResourceID) (string, error) {
	if len(r) == 0 || len(r) > coordinator.MaxResourceLen {
		return "", fmt.Errorf("%w: resource id of %d bytes", ErrRefused, len(r))
	}
	plain := strings.IndexFunc(string(r), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) < 0
	if plain {
		return evtPrefix + string(r), nil
	}
	return evtPrefix + "=" + base64.RawURLEncoding.EncodeToString([]byte(r)), nil
}

// mustJSON encodes a wire type; none of them can fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("natsbus: encode %T: %v", v, err))
	}
	return b
}
