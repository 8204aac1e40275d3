package gtxhttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxhttp"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// yes is a resolver of a database that could prepare.
type yes struct{}

func (yes) Resolve(context.Context, gtx.Resolution) error { return nil }
func (yes) CanCommit(context.Context) error               { return nil }

// modes of a caller, and what a service sees that is called by way of another.
var modes = map[string]struct {
	opts []gtx.Option
	in   func(context.Context) context.Context
	want gtx.Mode
}{
	"AT":            {nil, nil, gtx.AT},
	"XA":            {[]gtx.Option{gtx.WithMode(gtx.XA)}, nil, gtx.XA},
	"3PC":           {[]gtx.Option{gtx.WithMode(gtx.ThreePhase), gtx.WithResources(gtx.Remote(stock))}, nil, gtx.ThreePhase},
	"AT inside XA":  {[]gtx.Option{gtx.WithMode(gtx.XA)}, inMode(gtx.AT), gtx.AT},
	"XA inside AT":  {nil, inMode(gtx.XA), gtx.XA},
	"AT inside 3PC": {[]gtx.Option{gtx.WithMode(gtx.ThreePhase), gtx.WithResources(gtx.Remote(stock))}, inMode(gtx.AT), gtx.ThreePhase},
}

func inMode(m gtx.Mode) func(context.Context) context.Context {
	return func(ctx context.Context) context.Context { return gtx.InMode(ctx, m) }
}

// modeCoordinator is one that could begin all of modes.
func modeCoordinator(t *testing.T) *memory.Coordinator {
	t.Helper()
	c := memory.New()
	if _, err := c.Serve(stock, yes{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// seen tells the mode of the branches of ctx.
func seen(ctx context.Context) gtx.Mode {
	tx, _ := gtx.FromContext(ctx)
	return tx.ModeFor(ctx)
}

func TestModeTravels(t *testing.T) {
	for name, tt := range modes {
		t.Run(name, func(t *testing.T) {
			c, got := modeCoordinator(t), gtx.Mode(99)
			inner, innerURL := service(t, c, func(_ http.ResponseWriter, r *http.Request) {
				got = seen(r.Context())
				if err := memory.Branch(r.Context(), stock, confirm); err != nil {
					t.Error(err)
				}
			}, gtxhttp.Config{Trust: trustAll})
			middle, url := service(t, c, func(_ http.ResponseWriter, r *http.Request) {
				if status, _, err := call(r.Context(), inner, innerURL); err != nil || status != http.StatusOK {
					t.Errorf("call of the inner service: %d, %v", status, err)
				}
			}, gtxhttp.Config{Trust: trustAll})
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if tt.in != nil {
					ctx = tt.in(ctx)
				}
				_, _, err := call(ctx, middle, url)
				return err
			}, append([]gtx.Option{gtx.WithCoordinator(c)}, tt.opts...)...)
			if err != nil || got != tt.want {
				t.Errorf("the inner service saw %s, want %s; %v", got, tt.want, err)
			}
		})
	}
}

func TestUnknownModeIsRefused(t *testing.T) {
	c := memory.New()
	h := gtxhttp.Handler(c, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("served in a mode that the caller did not want")
	}), gtxhttp.Config{Trust: trustAll})
	for _, values := range [][]string{{"tcc"}, {""}, {"xa", "xa"}} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set(gtxhttp.HeaderXID, gtx.XID{Log: 7, Epoch: 1, Seq: 1}.String())
		r.Header[gtxhttp.HeaderMode] = values
		h.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "mode of the global transaction") {
			t.Errorf("%q: %d %s", values, w.Code, w.Body)
		}
	}
}

// TestModeOfTheCallerCounts: a header that the request has already, from wherever, does
// not.
func TestModeOfTheCallerCounts(t *testing.T) {
	c, got := memory.New(), gtx.Mode(99)
	client, url := service(t, c, func(_ http.ResponseWriter, r *http.Request) { got = seen(r.Context()) }, gtxhttp.Config{Trust: trustAll})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		if err != nil {
			return err
		}
		req.Header.Set(gtxhttp.HeaderMode, "xa")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}, gtx.WithCoordinator(c))
	if err != nil || got != gtx.AT {
		t.Errorf("the service saw %s, %v", got, err)
	}
}
