package inbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers that package natsbus/outbox sets.
const (
	// HeaderKey is the key among whose messages order is kept.
	HeaderKey = "Gtx-Key"
	// HeaderSource is the identity of the sending database.
	HeaderSource = "Gtx-Source"
)

// maxID is the width of the column.
const maxID = 190

// Message is what a handler gets. Header and Body must not be changed.
type Message struct {
	// ID is the same in each delivery, and differs from that of each other message:
	//
	//	from natsbus/outbox           Nats-Msg-Id, unique in the world
	//	another with a Nats-Msg-Id    stream/Nats-Msg-Id: the sender's word, inside the stream
	//	another without               /stream/sequence/time: publishing again is another message
	//
	// with the domain and a dot before the stream where there is one. An id that is long,
	// or holds more than letters, digits and . _ : / @ + = -, is # and the SHA-256 of it.
	ID      string
	Subject string
	Header  nats.Header
	Body    []byte
	// Time is when the stream has stored the message. Zero in a replay.
	Time time.Time
	// Deliveries counts this one. In a replay it is how often the message was delivered
	// before it was put aside.
	Deliveries uint64
}

// Key gives the key among whose messages order is kept, or "".
func (m *Message) Key() string { return m.Header.Get(HeaderKey) }

func messageOf(msg jetstream.Msg) (*Message, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read metadata of message: %w", err)
	}
	h := msg.Headers()
	return &Message{
		ID: messageID(h, meta), Subject: msg.Subject(), Header: h, Body: msg.Data(),
		Time: meta.Timestamp, Deliveries: meta.NumDelivered,
	}, nil
}

// messageID says of two deliveries whether they are one message. A sequence alone would
// not do: a stream that is deleted and made again begins with 1.
func messageID(h nats.Header, meta *jetstream.MsgMetadata) string {
	stream := meta.Stream
	if meta.Domain != "" {
		stream = meta.Domain + "." + stream // neither may hold a dot
	}
	id := h.Get(jetstream.MsgIDHeader)
	switch {
	case id == "":
		id = "/" + stream + "/" + strconv.FormatUint(meta.Sequence.Stream, 10) + "/" + strconv.FormatInt(meta.Timestamp.UnixNano(), 36)
	case h.Get(HeaderSource) == "":
		id = stream + "/" + id
	}
	if len(id) <= maxID && !strings.ContainsFunc(id, unsafeInID) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "#" + hex.EncodeToString(sum[:])
}

// unsafeInID tells what an id must not hold: it stands in the text of statements, and in
// columns that compare with blanks at the end ignored.
func unsafeInID(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("._:/@+=-", r):
		return false
	}
	return true
}

// idOK is for ids that callers bring.
func idOK(id string) bool {
	return id != "" && len(id) <= maxID && !strings.ContainsFunc(strings.TrimPrefix(id, "#"), unsafeInID)
}

// encodeHeader writes headers as they stand on the wire, without the first line, by name.
// It is stored: do not change.
func encodeHeader(h nats.Header) []byte {
	b := []byte{} // not NULL where there is none
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	return b
}

func decodeHeader(b []byte) (nats.Header, error) {
	h := nats.Header{}
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		if len(line) == 0 {
			continue
		}
		name, v, ok := strings.Cut(string(line), ": ")
		if !ok {
			return nil, errors.New("a line of the stored header has no colon")
		}
		h[name] = append(h[name], v)
	}
	return h, nil
}

// plain makes text fit for a column and a header: valid, without control characters, at
// most size bytes.
func plain(text string, size int) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), size)], "?"))
}
