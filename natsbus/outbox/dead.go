package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of a message at Config.DeadSubject, beside those that the dead message had and
// could have. They are on the wire: do not change.
const (
	HeaderDeadOutbox  = "Gtx-Dead-Outbox"  // the identity of the database
	HeaderDeadID      = "Gtx-Dead-Id"      // of the dead message
	HeaderDeadSubject = "Gtx-Dead-Subject" // where it should have gone
	HeaderDeadError   = "Gtx-Dead-Error"   // why it cannot
	HeaderDeadBody    = "Gtx-Dead-Body"    // "left out": it is too large
	HeaderDeadHeader  = "Gtx-Dead-Header"  // "left out": the sender's is too large, or cannot be read
)

const (
	leftOut      = "left out"
	maxError     = 4000 // stored, bytes
	maxErrorSent = 1000
)

// bury puts a message aside that no stream takes, and makes the letter to Config.DeadSubject
// a message of the outbox in the same local transaction: neither is lost, and the letter is
// tried again like any other. A letter that is refused as too large stays, with less in it.
// gone is what the row of the message is to be.
func (o *Outbox) bury(ctx context.Context, tx *sql.Tx, f *failure) (gone bool, err error) {
	if cut, ok := o.shorter(f); ok {
		if _, err := tx.ExecContext(ctx, cut); err != nil {
			return false, fmt.Errorf("shorten dead letter %s: %w", f.id, err)
		}
		return false, nil
	}
	if _, err := tx.ExecContext(ctx, o.text.bury(&f.row, f.err.Error(), o.micros(time.Now()))); err != nil {
		return false, fmt.Errorf("put dead message %s aside: %w", f.id, err)
	}
	if o.cfg.DeadSubject != "" && !isLetter(f.header) {
		header, body := o.letter(f)
		now := time.Now()
		if _, err := tx.ExecContext(ctx, o.text.tell(&f.row, o.id.next(now), o.cfg.DeadSubject, header, o.micros(now), body)); err != nil {
			return false, fmt.Errorf("write letter of dead message %s: %w", f.id, err)
		}
	}
	o.log.Error("message of the outbox is dead", "id", f.id, "subject", f.subject, "err", f.err)
	return true, nil
}

// isLetter knows letters by a header that no sender may set.
func isLetter(header []byte) bool {
	h, err := decodeHeader(header)
	return err == nil && h[HeaderDeadOutbox] != nil
}

// letter gives the header of the letter of a dead message, and whether its body fits.
func (o *Outbox) letter(f *failure) (header string, body bool) {
	sent, err := decodeHeader(f.header)
	if err != nil {
		sent = nats.Header{HeaderDeadHeader: {leftOut}}
	}
	h := nats.Header{
		HeaderDeadOutbox: {string(o.source)}, HeaderDeadID: {f.id}, HeaderDeadSubject: {f.subject}, HeaderDeadError: {plain(f.err.Error(), maxErrorSent)},
	}
	if f.key != "" {
		h[HeaderKey] = []string{f.key}
	}
	body = !errors.Is(f.err, nats.ErrMaxPayload)
	if !body {
		h[HeaderDeadBody] = []string{leftOut}
	}
	_, own := o.ownHeader(f.id, "") // of the letter, whose id is as long
	if hasCode(f.err, codeHeaderTooLarge) || own+wireSize(sent)+wireSize(h) > maxHeader {
		sent = nats.Header{HeaderDeadHeader: {leftOut}}
	}
	for name, values := range sent {
		h[name] = values
	}
	return jsonOf(h), body
}

// shorter gives the statement that leaves out of a letter what may be too large, the body
// first.
func (o *Outbox) shorter(f *failure) (query string, ok bool) {
	h, err := decodeHeader(f.header)
	if err != nil || h[HeaderDeadOutbox] == nil {
		return "", false
	}
	switch {
	case f.size > 0 && !hasCode(f.err, codeHeaderTooLarge):
		h[HeaderDeadBody] = []string{leftOut}
		return o.text.rewrite(&f.row, jsonOf(h), true), true
	case h[HeaderDeadHeader] == nil:
		for name := range h {
			if !strings.HasPrefix(name, "Gtx-") {
				delete(h, name)
			}
		}
		h[HeaderDeadHeader] = []string{leftOut}
		return o.text.rewrite(&f.row, jsonOf(h), false), true
	}
	return "", false
}

// jsonOf is for headers that were checked before.
func jsonOf(h nats.Header) string {
	text, _ := json.Marshal(h) // strings always can be
	return string(text)
}

// tell makes the letter of a message, without a key: it orders nothing.
func (t text) tell(dead *row, id, subject, header string, micros uint64, body bool) string {
	what := "size, body"
	if !body {
		what = "0, " + t.bytes(nil)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT '%s', %d, %s, %s, '', %s, %s FROM %s%s",
		t.box, columns, id, slotOf(""), t.now(micros), t.str(subject), t.str(header), what, t.box, t.at(dead))
}

// rewrite changes the header of a letter, and takes its body away.
func (t text) rewrite(r *row, header string, noBody bool) string {
	cut := ""
	if noBody {
		cut = ", size = 0, body = " + t.bytes(nil)
	}
	return "UPDATE " + t.box + " SET header = " + t.str(header) + cut + t.at(r)
}
