package flow

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// Headers of the messages of a flow, beside those of Start. They are on the wire: do not
// change.
const (
	HeaderID     = "Gtx-Flow-Id"
	HeaderKind   = "Gtx-Flow-Kind"
	HeaderOp     = "Gtx-Flow-Op"
	HeaderSender = "Gtx-Flow-Sender"
	HeaderFrom   = "Gtx-Flow-From"
	HeaderTo     = "Gtx-Flow-To"
	HeaderBegan  = "Gtx-Flow-Began"
	HeaderState  = "Gtx-Flow-State"
	HeaderError  = "Gtx-Flow-Error"
)

// Values of HeaderOp.
const (
	opDo     = "do"
	opUndo   = "undo"
	opReport = "report"
)

// Message is what Do and Undo get. Header and Body must not be changed.
type Message struct {
	// Flow is what Start has returned, the same in each try and in Undo.
	Flow   string
	Kind   string
	Sender string // Config.Name of the service that has called Start
	Header nats.Header
	Body   []byte
	Began  time.Time // when Start was called
	// Deliveries counts how often the server has delivered this message, this one included.
	Deliveries uint64
}

// envelope is what a message says of its flow.
type envelope struct {
	id, kind, op, sender, from string
	to                         []string
	began                      int64
	state                      State  // of a report
	err                        string // of a report
}

var idOK = regexp.MustCompile(`^[0-9a-f]{32}$`)

// maxError bounds what is sent and stored of an error, in bytes.
const maxError = 1000

// reports are the states that a step may report.
var reports = map[string]State{Done.String(): Done, Failed.String(): Failed, Barred.String(): Barred, Undone.String(): Undone}

// open reads the envelope of m, which is kept by nobody else's check: whoever may publish to
// the stream may have written it.
func open(m *inbox.Message) (*envelope, error) {
	h := m.Header
	e := &envelope{
		id: h.Get(HeaderID), kind: h.Get(HeaderKind), op: h.Get(HeaderOp), sender: h.Get(HeaderSender), from: h.Get(HeaderFrom),
		to: strings.Split(h.Get(HeaderTo), ","), err: plain(h.Get(HeaderError)),
	}
	var err error
	e.began, err = strconv.ParseInt(h.Get(HeaderBegan), 10, 64)
	bad := ""
	switch {
	case !idOK.MatchString(e.id):
		bad = HeaderID
	case !nameOK.MatchString(e.kind):
		bad = HeaderKind
	case !nameOK.MatchString(e.sender):
		bad = HeaderSender
	case !nameOK.MatchString(e.from):
		bad = HeaderFrom
	case err != nil:
		bad = HeaderBegan
	}
	for _, name := range e.to {
		if !nameOK.MatchString(name) {
			bad = HeaderTo
		}
	}
	switch e.op {
	case opDo, opUndo:
	case opReport:
		if e.state = reports[h.Get(HeaderState)]; e.state == Waiting {
			bad = HeaderState
		}
	default:
		bad = HeaderOp
	}
	if bad != "" {
		return nil, fmt.Errorf("message %s is of no flow: header %s is %.100q", m.ID, bad, h.Get(bad))
	}
	return e, nil
}

// to gives the message that e is the envelope of, for a service.
func (e *envelope) message(to string, header nats.Header, body []byte) outbox.Message {
	h := nats.Header{}
	for name, v := range header {
		if !strings.HasPrefix(strings.ToLower(name), "gtx-") && !strings.HasPrefix(strings.ToLower(name), "nats-") {
			h[name] = v
		}
	}
	h[HeaderID], h[HeaderKind], h[HeaderOp] = []string{e.id}, []string{e.kind}, []string{e.op}
	h[HeaderSender], h[HeaderFrom] = []string{e.sender}, []string{e.from}
	h[HeaderTo], h[HeaderBegan] = []string{strings.Join(e.to, ",")}, []string{strconv.FormatInt(e.began, 10)}
	if e.op == opReport {
		h[HeaderState] = []string{e.state.String()}
	}
	if e.err != "" {
		h[HeaderError] = []string{e.err}
	}
	return outbox.Message{Subject: subject(to), Header: h, Body: body}
}

// forUser is m as Do and Undo see it.
func (e *envelope) forUser(m *inbox.Message) *Message {
	h := nats.Header{}
	for name, v := range m.Header {
		if !strings.HasPrefix(name, "Gtx-") && !strings.HasPrefix(name, "Nats-") {
			h[name] = v
		}
	}
	return &Message{
		Flow: e.id, Kind: e.kind, Sender: e.sender, Header: h, Body: m.Body,
		Began: time.UnixMicro(e.began), Deliveries: m.Deliveries,
	}
}

// plain makes text fit for a header, and for a column of any database: ASCII, for the
// character set of a database, or of a session, may not have the letters of another's error.
func plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case b.Len() > maxError:
			return b.String()
		case r < ' ' || r == 0x7f:
			b.WriteByte(' ')
		case r < 0x7f:
			b.WriteByte(byte(r))
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return strings.TrimSpace(b.String())
}

// encodeHeader gives what gtx_flow.header holds: a JSON object of arrays of strings.
func encodeHeader(h nats.Header) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	return b, nil
}

func decodeHeader(b []byte) (h nats.Header, err error) {
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("decode header: %w", err)
	}
	return h, nil
}
