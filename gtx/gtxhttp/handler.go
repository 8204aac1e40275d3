package gtxhttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/report"
)

// DefaultMaxBody is Config.MaxBody when that is zero: 1 MiB.
const DefaultMaxBody = 1 << 20

// Config of a Handler.
type Config struct {
	// Trust tells whether the sender of a request may bring a transaction along:
	// by its client certificate, its token, its network. Nil trusts nobody. It is
	// called only for requests that name an XID, possibly concurrently.
	Trust func(*http.Request) bool

	// MaxBody bounds, in bytes, the response that is held in memory until the
	// handler has returned. Zero: DefaultMaxBody. Requests without an XID are
	// not held and not bounded.
	MaxBody int

	// Logger for requests that were refused. Nil: slog.Default().
	Logger *slog.Logger
}

// Handler lets next take part in the transaction of its caller. A request that
// names an XID is served with a context that carries the transaction, and the
// branches go back with the response; any other request goes to next unchanged.
//
// A nil coordinator means gtx.Default() at the time of the request. It must be
// the one that minted the XID. Answers without calling next: 400 for a malformed
// XID or an unknown mode, 403 for a sender that Config.Trust does not trust, 503 without a
// coordinator.
//
// Inside a transaction the ResponseWriter holds the response back: it cannot
// flush, hijack or send trailers, and its Write returns ErrResponseTooLarge
// beyond Config.MaxBody. A panic of next goes on as it came; its branches are
// not reported, so the transaction is aborted.
func Handler(c gtx.Coordinator, next http.Handler, cfg Config) http.Handler {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &handler{coord: c, next: next, cfg: cfg}
}

type handler struct {
	coord gtx.Coordinator
	next  http.Handler
	cfg   Config
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	xid, ok, err := requestXID(r.Header)
	if !ok {
		h.next.ServeHTTP(w, r)
		return
	}
	if tx, joined := gtx.FromContext(r.Context()); joined && err == nil && tx.XID() == xid {
		h.next.ServeHTTP(w, r) // wrapped twice: the outer one reports
		return
	}
	if h.cfg.Trust == nil || !h.cfg.Trust(r) {
		h.refuse(w, r, http.StatusForbidden, errors.New("the sender is not trusted to bring a global transaction: Config.Trust does not accept it"))
		return
	}
	mode, modeErr := report.ParseMode(r.Header.Values(HeaderMode))
	if err = cmp.Or(err, modeErr); err != nil {
		h.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	c := h.coord
	if c == nil {
		c = gtx.Default()
	}
	if c == nil {
		h.refuse(w, r, http.StatusServiceUnavailable, gtx.ErrNoCoordinator)
		return
	}
	h.join(w, r.WithContext(gtx.InMode(r.Context(), mode)), c, xid)
}

// join serves r inside xid. The report is made from what Join returns, after
// next has returned: a branch that is still open then is in no list (rule C1).
func (h *handler) join(w http.ResponseWriter, r *http.Request, c gtx.Coordinator, xid gtx.XID) {
	held := &heldResponse{out: w, limit: h.cfg.MaxBody}
	confirmed, dead, _ := gtx.Join(r.Context(), c, xid, func(ctx context.Context) error {
		h.next.ServeHTTP(held, r.WithContext(ctx))
		return nil
	})
	text, err := report.Format(xid, confirmed, dead, report.MaxSize)
	if held.tooLarge {
		err = fmt.Errorf("%w: over %d bytes", ErrResponseTooLarge, h.cfg.MaxBody)
	}
	if err != nil {
		clear(w.Header())
		h.refuse(w, r, http.StatusInternalServerError, err)
		return
	}
	held.send(text)
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, code int, err error) {
	h.cfg.Logger.WarnContext(r.Context(), "gtxhttp: request in a global transaction refused", "status", code, "remote", r.RemoteAddr, "path", r.URL.Path, "err", err)
	http.Error(w, "gtxhttp: "+err.Error(), code)
}
