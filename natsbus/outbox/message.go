package outbox

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers that a published message has beside the sender's own. They are on the wire: do
// not change.
const (
	// HeaderID holds the message id, by which a stream knows a message that comes again.
	HeaderID = jetstream.MsgIDHeader
	// HeaderKey holds Message.Key. Absent where there is none.
	HeaderKey = "Gtx-Key"
	// HeaderSource holds the identity of the database that the message comes from.
	HeaderSource = "Gtx-Source"
)

// prefixFlow is of the headers of package natsbus/flow.
const prefixFlow = "gtx-flow-"

const (
	maxSubject = 1024
	maxKey     = 255
	maxHeader  = 1<<16 - 1 // JetStream's, of all that stands before the body
)

// Message is what Publish sends. Publish keeps nothing of it.
type Message struct {
	// Subject, one that a stream takes. At most 1024 bytes, no wildcards.
	Subject string
	// Key orders: messages of one key arrive in the order in which they were published.
	// Empty: no order. Else text of at most 255 bytes.
	Key string
	// Header is the sender's. Names that begin with "Nats-" or "Gtx-" are refused, and so
	// are values that NATS would not deliver as they are: with line breaks, or with blanks
	// at an end. With those of this module at most 65535 bytes on the wire.
	Header nats.Header
	// Body of any bytes, also none. What is larger than the server's max_payload
	// becomes a dead message.
	Body []byte
}

// check refuses what would not arrive as it is.
func (m *Message) check() error {
	if why := badSubject(m.Subject); why != "" {
		return fmt.Errorf("%w: subject %.100q %s", ErrMessage, m.Subject, why)
	}
	if why := badText(m.Key); why != "" || len(m.Key) > maxKey {
		if why == "" {
			why = fmt.Sprintf("is longer than %d bytes", maxKey)
		}
		return fmt.Errorf("%w: key %.100q %s", ErrMessage, m.Key, why)
	}
	for name, values := range m.Header {
		if why := badName(name); why != "" {
			return fmt.Errorf("%w: header %.100q %s", ErrMessage, name, why)
		}
		for _, v := range values {
			if why := badText(v); why != "" {
				return fmt.Errorf("%w: the value of header %.100q %s", ErrMessage, name, why)
			}
		}
	}
	return nil
}

func badSubject(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxSubject:
		return fmt.Sprintf("is longer than %d bytes", maxSubject)
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "holds a blank or a control character"
	}
	for token := range strings.SplitSeq(s, ".") {
		switch token {
		case "":
			return "has an empty token"
		case "*", ">":
			return "has a wildcard"
		}
	}
	return ""
}

// badText tells why the reader of a header would not see s.
func badText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsAny(s, "\r\n\x00"):
		return "holds a line break or a NUL"
	case strings.Trim(s, " \t") != s:
		return "begins or ends with a blank"
	}
	return ""
}

func badName(s string) string {
	fold := strings.ToLower(s)
	switch {
	case s == "":
		return "has no name"
	case strings.HasPrefix(fold, "nats-") || strings.HasPrefix(fold, "gtx-") && !strings.HasPrefix(fold, prefixFlow):
		return "is not for the sender: names with Nats- and Gtx- are the server's and this module's"
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return "has a name with a character that a header may not have"
		}
	}
	return ""
}

// encodeHeader gives what gtx_outbox.header holds: a JSON object of arrays of strings,
// "" for none. own is what this module adds on the wire, in bytes.
func encodeHeader(h nats.Header, trace map[string]string, own int) (string, error) {
	all := make(map[string][]string, len(h)+len(trace))
	for name, value := range trace {
		if badName(name) == "" && badText(value) == "" {
			all[name] = []string{value}
		}
	}
	for name, values := range h {
		if len(values) > 0 {
			all[name] = values
		}
	}
	if len(all) == 0 {
		return "", nil
	}
	if size := own + wireSize(all); size > maxHeader {
		return "", fmt.Errorf("%w: its header has %d bytes, more than %d", ErrMessage, size, maxHeader)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("encode header: %w", err)
	}
	return string(text), nil
}

// wireSize is how many bytes headers take on the wire, without the first and the last line.
func wireSize(h map[string][]string) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}

// ownHeader gives what a message has beside the sender's, and its size with first and last
// line.
func (o *Outbox) ownHeader(id, key string) (h nats.Header, size int) {
	h = nats.Header{HeaderID: {id}, HeaderSource: {string(o.source)}}
	if key != "" {
		h[HeaderKey] = []string{key}
	}
	return h, len("NATS/1.0\r\n") + wireSize(h) + len("\r\n")
}

// plain makes text fit for a column and a header: ASCII, without control characters, at most
// size bytes.
func plain(text string, size int) string {
	text = strconv.QuoteToASCII(text)
	text = text[1 : len(text)-1]
	text = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\n`, " ", `\t`, " ").Replace(text)
	return strings.TrimSpace(text[:min(len(text), size)])
}

func decodeHeader(text []byte) (nats.Header, error) {
	h := nats.Header{}
	if len(text) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf("decode header: %w", err)
	}
	return h, nil
}
