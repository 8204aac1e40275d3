package gtxhttp

import (
	"bytes"
	"maps"
	"net/http"
)

// heldResponse keeps a response until the branches are known. It has no Unwrap
// on purpose: http.ResponseController must not reach the connection through it.
// Like every ResponseWriter it belongs to one goroutine at a time.
type heldResponse struct {
	out      http.ResponseWriter
	limit    int
	status   int // 0 until WriteHeader
	header   http.Header
	body     bytes.Buffer
	tooLarge bool
}

func (h *heldResponse) Header() http.Header { return h.out.Header() }

// WriteHeader freezes status and header. Informational answers are dropped.
func (h *heldResponse) WriteHeader(status int) {
	if h.status != 0 || status/100 == 1 {
		return
	}
	h.status = status
	h.header = h.out.Header().Clone()
}

func (h *heldResponse) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	if h.tooLarge || h.body.Len()+len(p) > h.limit {
		h.tooLarge = true
		return 0, ErrResponseTooLarge
	}
	return h.body.Write(p)
}

// send hands everything over, with the report. An error of the connection shows
// at the peer, who then has no report and cannot commit.
func (h *heldResponse) send(report string) {
	h.WriteHeader(http.StatusOK)
	live := h.out.Header()
	clear(live)
	maps.Copy(live, h.header)
	live.Set(HeaderBranches, report)
	h.out.WriteHeader(h.status)
	if h.body.Len() > 0 {
		_, _ = h.out.Write(h.body.Bytes())
	}
}
