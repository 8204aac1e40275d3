package gtxhttp

import (
	"fmt"
	"net/http"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/report"
)

var _ http.RoundTripper = (*transport)(nil)

type transport struct{ base http.RoundTripper }

// NewTransport gives a RoundTripper that sends requests through base and, for a
// request whose context carries a global transaction, takes the peer into it.
// Nil means http.DefaultTransport. Requests without one pass unchanged.
//
// The XID goes to whatever peer the request goes to: use it for your own
// services. Inside a transaction RoundTrip returns gtx.ErrEnded, ErrNotJoined,
// ErrBadReport or ErrRedirected besides the errors of base.
func NewTransport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{base: base}
}

// RoundTrip sends one request and reports the peer's branches, on condition that
// the body of the answer is not lost. A failed call reports nothing: what the peer
// registered stays open, and rule C1 aborts.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	tx, ok := gtx.FromContext(req.Context())
	if !ok {
		return t.base.RoundTrip(req)
	}
	if err := before(tx, req); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // a RoundTripper closes the body on errors, too
		}
		return nil, fmt.Errorf("call %s in global transaction %s: %w", req.URL.Redacted(), tx.XID(), err)
	}
	tx.Share()
	out := req.Clone(req.Context()) // a RoundTripper must not change the request
	out.Header.Set(HeaderXID, tx.XID().String())
	out.Header.Del(HeaderMode)
	if mode := report.FormatMode(tx.ModeFor(req.Context())); mode != "" {
		out.Header.Set(HeaderMode, mode)
	}
	resp, err := t.base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	if err := after(tx, resp); err != nil {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("call %s in global transaction %s: %w", req.URL.Redacted(), tx.XID(), err)
	}
	return resp, nil
}

// CloseIdleConnections serves http.Client.CloseIdleConnections.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func before(tx *gtx.Tx, req *http.Request) error {
	if err := tx.Active(); err != nil {
		return err
	}
	// http.Client sets Response on the requests that it makes for a redirect. It
	// drops credentials when the host changes; a peer's word about branches is
	// worth no less.
	if prev := req.Response; prev != nil && prev.Request != nil {
		from, to := prev.Request.URL, req.URL
		if from.Host != to.Host || from.Scheme == "https" && to.Scheme != "https" {
			return fmt.Errorf("%w: from %s", ErrRedirected, from.Redacted())
		}
	}
	return nil
}

func after(tx *gtx.Tx, resp *http.Response) error {
	values := resp.Header.Values(HeaderBranches)
	switch len(values) {
	case 1:
		confirmed, dead, err := report.Parse(values[0], tx.XID())
		if err != nil {
			return err
		}
		tx.Report(confirmed, dead)
		if len(confirmed) > 0 && resp.Body != nil && resp.Body != http.NoBody {
			resp.Body = &answerBody{ReadCloser: resp.Body, tx: tx, confirmed: confirmed}
		}
		return nil
	case 0:
		// Redirects and refusals come from anything on the way. Success without a
		// report means that work was done by somebody who did not join.
		if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusSwitchingProtocols {
			return fmt.Errorf("%w: status %s without header %s", ErrNotJoined, resp.Status, HeaderBranches)
		}
		return nil
	default:
		return fmt.Errorf("%w: %d headers %s", ErrBadReport, len(values), HeaderBranches)
	}
}
