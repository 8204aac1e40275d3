package gtxnats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/report"
)

// HandlerFunc serves one request. The reply may be nil for an empty one; its
// Subject and Reply are not used. An error is sent in the headers of the reply.
type HandlerFunc func(ctx context.Context, msg *nats.Msg) (reply *nats.Msg, err error)

// Config of a Handler.
type Config struct {
	// Trust tells whether the sender of a request may bring a transaction along: by
	// its subject, which permissions of the account keep others from publishing to,
	// or a token among the headers. Nil trusts nobody. It is called only for requests
	// that name an XID, possibly concurrently.
	Trust func(*nats.Msg) bool

	// Timeout bounds the context of one request, default gtx.DefaultTimeout.
	Timeout time.Duration

	// Logger for requests that were refused, and for what no caller can be told.
	// Nil: slog.Default().
	Logger *slog.Logger
}

// Handler lets next take part in the transaction of its caller, and sends its
// replies. A request that names an XID is served with a context that carries the
// transaction, and the branches go back with the reply, beside an error, too; any
// other message is served with ctx alone. Both end with ctx and after
// Config.Timeout. A message that a consumer of JetStream has delivered gets no
// reply: to acknowledge it is up to next.
//
// A nil coordinator means gtx.Default() at the time of the request. It must be the
// one that minted the XID. Replies without calling next: 400 for a malformed XID or an unknown mode,
// 403 for a sender that Config.Trust does not trust, 503 without a coordinator. A
// message that names an XID and leaves no way to report (published without a reply
// subject, or delivered by a consumer of JetStream) is logged and dropped.
//
// A subscription calls its handler for one message at a time: several in one queue
// group, or a function that starts a goroutine, serve more. A panic of next goes
// on as it came and ends the process, unless next recovers; its branches are not
// reported.
func Handler(ctx context.Context, c gtx.Coordinator, next HandlerFunc, cfg Config) nats.MsgHandler {
	if cfg.Timeout <= 0 {
		cfg.Timeout = gtx.DefaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	h := &handler{coord: c, next: next, cfg: cfg}
	return func(msg *nats.Msg) {
		ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
		defer cancel()
		h.serve(ctx, msg)
	}
}

type handler struct {
	coord gtx.Coordinator
	next  HandlerFunc
	cfg   Config
}

func (h *handler) serve(ctx context.Context, msg *nats.Msg) {
	xid, ok, err := requestXID(msg.Header)
	if !ok {
		reply, err := h.next(ctx, msg)
		if wantsReply(msg) {
			h.send(ctx, msg, answer(reply, err))
		} else if err != nil {
			h.cfg.Logger.WarnContext(ctx, "gtxnats: handling of a message that wants no reply has failed", "subject", msg.Subject, "err", err)
		}
		return
	}
	if !wantsReply(msg) {
		h.cfg.Logger.WarnContext(ctx, "gtxnats: message in a global transaction dropped: its branches could not be reported", "subject", msg.Subject, "reply", msg.Reply)
		return
	}
	if h.cfg.Trust == nil || !h.cfg.Trust(msg) {
		h.refuse(ctx, msg, "403", errors.New("the sender is not trusted to bring a global transaction: Config.Trust does not accept it"))
		return
	}
	mode, modeErr := report.ParseMode(values(msg.Header, HeaderMode))
	if err = cmp.Or(err, modeErr); err != nil {
		h.refuse(ctx, msg, "400", err)
		return
	}
	c := h.coord
	if c == nil {
		c = gtx.Default()
	}
	if c == nil {
		h.refuse(ctx, msg, "503", gtx.ErrNoCoordinator)
		return
	}
	h.join(gtx.InMode(ctx, mode), msg, c, xid)
}

// wantsReply is false also for a message that a consumer of JetStream has delivered:
// whatever is sent to its reply subject acknowledges it.
func wantsReply(msg *nats.Msg) bool {
	return msg.Reply != "" && !strings.HasPrefix(msg.Reply, "$JS.ACK.")
}

// join serves msg inside xid. The report is made from what Join returns, after
// next has returned: a branch that is still open then is in no list (rule C1).
func (h *handler) join(ctx context.Context, msg *nats.Msg, c gtx.Coordinator, xid gtx.XID) {
	var reply *nats.Msg
	confirmed, dead, err := gtx.Join(ctx, c, xid, func(ctx context.Context) (err error) {
		reply, err = h.next(ctx, msg)
		return err
	})
	text, badErr := report.Format(xid, confirmed, dead, report.MaxSize)
	if badErr != nil {
		h.refuse(ctx, msg, "500", badErr)
		return
	}
	h.send(ctx, msg, with(answer(reply, err), HeaderBranches, text))
}

// answer is the reply without a report: one that reply brings along, handed on
// from another service, is not ours to give.
func answer(reply *nats.Msg, err error) *nats.Msg {
	out := with(reply, HeaderBranches, "")
	if err == nil {
		return out
	}
	code, text := "500", err.Error()
	var own *Error
	if errors.As(err, &own) && own.Code != "" {
		// The caller's Error puts the same words around the description again.
		code, text = own.Code, strings.Replace(text, own.Error(), own.Description, 1)
	}
	out.Header.Set(headerErrorCode, code)
	out.Header.Set(headerError, text)
	return out
}

// send replies. An error of the connection shows at the caller, who then has no
// report and cannot commit.
func (h *handler) send(ctx context.Context, msg, reply *nats.Msg) {
	err := msg.RespondMsg(reply)
	if errors.Is(err, nats.ErrMaxPayload) {
		h.refuse(ctx, msg, "500", fmt.Errorf("reply of %d bytes: %w", reply.Size(), err))
	} else if err != nil {
		h.cfg.Logger.WarnContext(ctx, "gtxnats: reply not sent", "subject", msg.Subject, "err", err)
	}
}

// refuse replies with an error and without a report.
func (h *handler) refuse(ctx context.Context, msg *nats.Msg, code string, err error) {
	h.cfg.Logger.WarnContext(ctx, "gtxnats: request refused", "code", code, "subject", msg.Subject, "err", err)
	sendErr := msg.RespondMsg(answer(nil, &Error{Code: code, Description: "gtxnats: " + err.Error()}))
	if sendErr != nil {
		h.cfg.Logger.WarnContext(ctx, "gtxnats: refusal not sent", "subject", msg.Subject, "err", sendErr)
	}
}
