package gtxhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxhttp"
	"github.com/globaltx/globaltx/gtx/internal/memory"
	"go.uber.org/goleak"
)

const stock gtx.ResourceID = "3b8b3c9e-7d1c-4c4e-9d5e-0d1a2b3c4d5e"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func trustAll(*http.Request) bool { return true }

// service starts a server whose handler is wrapped for c, and a client for it.
func service(t *testing.T, c gtx.Coordinator, h http.HandlerFunc, cfg gtxhttp.Config) (*http.Client, string) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	return plainService(t, gtxhttp.Handler(c, h, cfg))
}

func plainService(t *testing.T, h http.Handler) (*http.Client, string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // panics on purpose
	srv.Start()
	client := &http.Client{Transport: gtxhttp.NewTransport(&http.Transport{})}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		srv.Close()
	})
	return client, srv.URL
}

// call posts to url, reads the answer and gives its status and body.
func call(ctx context.Context, client *http.Client, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("10"))
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// run calls url once in a transaction and commits whatever the call returned.
func run(c gtx.Coordinator, client *http.Client, url string) (callErr, runErr error) {
	runErr = gtx.Run(context.Background(), func(ctx context.Context) error {
		_, _, callErr = call(ctx, client, url)
		return nil
	}, gtx.WithCoordinator(c))
	return callErr, runErr
}

func confirm(tx *gtx.Tx, ref gtx.BranchRef) { tx.Confirm(ref) }

// committed gives the confirmed branches of the only committed transaction.
func committed(t *testing.T, c *memory.Coordinator) []gtx.BranchRef {
	t.Helper()
	done := c.Committed()
	if len(done) != 1 {
		t.Fatalf("%d committed transactions, want 1", len(done))
	}
	for _, refs := range done {
		return refs
	}
	return nil
}

func TestServiceJoinsTheCallersTransaction(t *testing.T) {
	c := memory.New()
	var seen gtx.XID
	client, url := service(t, c, func(w http.ResponseWriter, r *http.Request) {
		tx, _ := gtx.FromContext(r.Context())
		seen = tx.XID()
		if err := errors.Join(
			memory.Branch(r.Context(), stock, confirm),
			memory.Branch(r.Context(), stock, (*gtx.Tx).Dead),
		); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Kept", "yes")
		w.WriteHeader(http.StatusCreated)
		w.Header().Set("X-Late", "no")
		_, _ = io.WriteString(w, "reserved")
	}, gtxhttp.Config{Trust: trustAll})

	var want gtx.XID
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		want = tx.XID()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusCreated || string(body) != "reserved" || resp.Header.Get("X-Kept") != "yes" || resp.Header.Get("X-Late") != "" {
			t.Errorf("response %d %q %v", resp.StatusCode, body, resp.Header)
		}
		if got := req.Header.Get(gtxhttp.HeaderXID); got != "" {
			t.Errorf("the caller's request was changed: %s", got)
		}
		return err
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if seen != want {
		t.Errorf("service saw %s, want %s", seen, want)
	}
	if refs := committed(t, c); len(refs) != 1 || refs[0].Resource != stock {
		t.Errorf("participants %v, want one at %s", refs, stock)
	}
}

func TestBranchesTravelThroughAServiceInTheMiddle(t *testing.T) {
	c := memory.New()
	inner, innerURL := service(t, c, func(_ http.ResponseWriter, r *http.Request) {
		if err := memory.Branch(r.Context(), "inner", confirm); err != nil {
			t.Error(err)
		}
	}, gtxhttp.Config{Trust: trustAll})
	middle, middleURL := service(t, c, func(w http.ResponseWriter, r *http.Request) {
		if err := memory.Branch(r.Context(), "middle", confirm); err != nil {
			t.Error(err)
		}
		if _, _, err := call(r.Context(), inner, innerURL); err != nil {
			t.Error(err)
		}
	}, gtxhttp.Config{Trust: trustAll})
	callErr, err := run(c, middle, middleURL)
	if err := errors.Join(callErr, err); err != nil {
		t.Fatal(err)
	}
	if refs := committed(t, c); len(refs) != 2 {
		t.Errorf("participants %v, want inner and middle", refs)
	}
}

func TestConcurrentCallsAllReport(t *testing.T) {
	c := memory.New()
	client, url := service(t, c, func(w http.ResponseWriter, r *http.Request) {
		if err := memory.Branch(r.Context(), stock, confirm); err != nil {
			t.Error(err)
		}
	}, gtxhttp.Config{Trust: trustAll})
	const calls = 20
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		errs := make([]error, calls)
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() { _, _, errs[i] = call(ctx, client, url) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if refs := committed(t, c); len(refs) != calls {
		t.Errorf("%d participants, want %d", len(refs), calls)
	}
}

func TestWithoutTransactionNothingChanges(t *testing.T) {
	c := memory.New()
	client, url := service(t, c, func(w http.ResponseWriter, r *http.Request) {
		if _, ok := gtx.FromContext(r.Context()); ok || r.Header.Get(gtxhttp.HeaderXID) != "" {
			t.Error("request carries a transaction")
		}
		if _, ok := w.(http.Flusher); !ok {
			t.Error("the response writer is wrapped")
		}
	}, gtxhttp.Config{}) // no Trust needed
	if status, _, err := call(t.Context(), client, url); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		_, _, err := call(gtx.Detach(ctx), client, url)
		return err
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
}

// The rows of TestLostAnswerAborts end in a branch that has committed locally
// and is not reported: rule C1 must abort although the caller ignores the error.
func TestLostAnswerAborts(t *testing.T) {
	cases := map[string]struct {
		handler http.HandlerFunc
		want    error // what the call returns; nil: any error
	}{
		"handler panics": {handler: func(_ http.ResponseWriter, r *http.Request) {
			_ = memory.Branch(r.Context(), stock, confirm)
			panic("broken")
		}},
		"connection breaks": {handler: func(_ http.ResponseWriter, r *http.Request) {
			_ = memory.Branch(r.Context(), stock, confirm)
			panic(http.ErrAbortHandler)
		}},
		"report of another transaction": {want: gtxhttp.ErrBadReport, handler: func(w http.ResponseWriter, r *http.Request) {
			_ = memory.Branch(r.Context(), stock, confirm)
			w.Header().Set("Test-Report", "0000000000000007-0-1-99")
		}},
		"several reports": {want: gtxhttp.ErrBadReport, handler: func(w http.ResponseWriter, r *http.Request) {
			_ = memory.Branch(r.Context(), stock, confirm)
			w.Header().Add("Test-Report", "a")
			w.Header().Add("Test-Report", "b")
		}},
		"oversized report": {want: gtxhttp.ErrBadReport, handler: func(w http.ResponseWriter, r *http.Request) {
			_ = memory.Branch(r.Context(), stock, confirm)
			w.Header().Set("Test-Report", r.Header.Get(gtxhttp.HeaderXID)+" +x/1"+strings.Repeat(",1", 40_000))
		}},
		"too many branches": {want: gtxhttp.ErrBadReport, handler: func(w http.ResponseWriter, r *http.Request) {
			_ = memory.Branch(r.Context(), stock, confirm)
			w.Header().Set("Test-Report", r.Header.Get(gtxhttp.HeaderXID)+" +x/1"+strings.Repeat(",1", 1024))
		}},
		"report removed": {want: gtxhttp.ErrNotJoined, handler: func(w http.ResponseWriter, r *http.Request) {
			_ = memory.Branch(r.Context(), stock, confirm)
			w.Header().Set("Test-Report", "")
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			h := gtxhttp.Handler(c, tc.handler, gtxhttp.Config{Trust: trustAll})
			client, url := plainService(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(&tampered{ResponseWriter: w}, r)
			}))
			callErr, err := run(c, client, url)
			if callErr == nil || tc.want != nil && !errors.Is(callErr, tc.want) {
				t.Errorf("call: %v, want %v", callErr, tc.want)
			}
			if !errors.Is(err, gtx.ErrAborted) {
				t.Errorf("run: %v, want ErrAborted", err)
			}
		})
	}
}

// tampered replaces the report by what the handler asked for in Test-Report.
type tampered struct{ http.ResponseWriter }

func (w *tampered) WriteHeader(code int) {
	if v, ok := w.Header()["Test-Report"]; ok {
		w.Header().Del("Test-Report")
		w.Header()[gtxhttp.HeaderBranches] = slices.DeleteFunc(v, func(s string) bool { return s == "" })
	}
	w.ResponseWriter.WriteHeader(code)
}

func TestBranchLeftOpenByTheHandlerAborts(t *testing.T) {
	c := memory.New()
	client, url := service(t, c, func(_ http.ResponseWriter, r *http.Request) {
		_ = memory.Branch(r.Context(), stock, func(*gtx.Tx, gtx.BranchRef) {})
	}, gtxhttp.Config{Trust: trustAll})
	callErr, err := run(c, client, url)
	if callErr != nil || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("call: %v, run: %v, want nil and ErrAborted", callErr, err)
	}
}

func TestPeerCannotKillAnothersBranch(t *testing.T) {
	c := memory.New()
	var own atomic.Value
	client, url := plainService(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(gtxhttp.HeaderBranches, r.Header.Get(gtxhttp.HeaderXID)+" -"+own.Load().(string))
	}))
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		if err := memory.Branch(ctx, "own", func(tx *gtx.Tx, ref gtx.BranchRef) {
			tx.Confirm(ref)
			own.Store(fmt.Sprintf("%s/%d", ref.Resource, ref.Branch))
		}); err != nil {
			return err
		}
		_, _, err := call(ctx, client, url)
		return err
	}, gtx.WithCoordinator(c))
	if err == nil || len(c.Committed()) != 0 {
		t.Errorf("run: %v, want an abort", err)
	}
}

func TestCancelledCallAborts(t *testing.T) {
	c := memory.New()
	registered, gone := make(chan struct{}), make(chan struct{})
	client, url := service(t, c, func(_ http.ResponseWriter, r *http.Request) {
		defer close(gone)
		_, _ = io.ReadAll(r.Body)
		_ = memory.Branch(r.Context(), stock, confirm)
		close(registered)
		<-r.Context().Done()
	}, gtxhttp.Config{Trust: trustAll})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		callCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			<-registered
			cancel()
		}()
		if _, _, err := call(callCtx, client, url); !errors.Is(err, context.Canceled) {
			t.Errorf("call: %v, want canceled", err)
		}
		return nil
	}, gtx.WithCoordinator(c))
	if !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("run: %v, want ErrAborted", err)
	}
	<-gone
}

// A client that tries again must not lose the XID, and the try whose answer was
// lost must still abort the whole.
func TestRetryKeepsTheXIDAndTheLostBranchAborts(t *testing.T) {
	c := memory.New()
	var tries atomic.Int32
	var xids sync.Map
	client, url := service(t, c, func(_ http.ResponseWriter, r *http.Request) {
		xids.Store(r.Header.Get(gtxhttp.HeaderXID), true)
		_ = memory.Branch(r.Context(), stock, confirm)
		if tries.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
	}, gtxhttp.Config{Trust: trustAll})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		if _, _, err := call(ctx, client, url); err == nil {
			t.Error("first call succeeded")
		}
		_, _, err := call(ctx, client, url)
		return err
	}, gtx.WithCoordinator(c))
	if !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("run: %v, want ErrAborted", err)
	}
	n := 0
	xids.Range(func(any, any) bool { n++; return true })
	if n != 1 || tries.Load() != 2 {
		t.Errorf("%d xids in %d tries, want 1 in 2", n, tries.Load())
	}
}

func TestRefusals(t *testing.T) {
	const good = "0000000000000007-0-1-1"
	cases := map[string]struct {
		xid    []string
		cfg    gtxhttp.Config
		noTC   bool
		status int
	}{
		"nil trust":      {xid: []string{good}, status: http.StatusForbidden},
		"not trusted":    {xid: []string{good}, cfg: gtxhttp.Config{Trust: func(*http.Request) bool { return false }}, status: http.StatusForbidden},
		"malformed":      {xid: []string{"7-0-1-1"}, cfg: gtxhttp.Config{Trust: trustAll}, status: http.StatusBadRequest},
		"empty":          {xid: []string{""}, cfg: gtxhttp.Config{Trust: trustAll}, status: http.StatusBadRequest},
		"two":            {xid: []string{good, good}, cfg: gtxhttp.Config{Trust: trustAll}, status: http.StatusBadRequest},
		"no coordinator": {xid: []string{good}, cfg: gtxhttp.Config{Trust: trustAll}, noTC: true, status: http.StatusServiceUnavailable},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var c gtx.Coordinator = memory.New()
			if tc.noTC {
				c = nil
			}
			tc.cfg.Logger = slog.New(slog.DiscardHandler)
			h := gtxhttp.Handler(c, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("the handler ran")
			}), tc.cfg)
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header[gtxhttp.HeaderXID] = tc.xid
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tc.status || w.Header().Get(gtxhttp.HeaderBranches) != "" || !strings.Contains(w.Body.String(), "gtx") {
				t.Errorf("got %d %v %q, want %d", w.Code, w.Header(), w.Body, tc.status)
			}
		})
	}
}

func TestResponseTooLargeIsAnErrorAndAborts(t *testing.T) {
	c := memory.New()
	client, url := service(t, c, func(w http.ResponseWriter, r *http.Request) {
		_ = memory.Branch(r.Context(), stock, confirm)
		if _, err := w.Write(make([]byte, 10)); err != nil {
			t.Error(err)
		}
		if _, err := w.Write(make([]byte, 1)); !errors.Is(err, gtxhttp.ErrResponseTooLarge) {
			t.Errorf("write beyond the limit: %v", err)
		}
	}, gtxhttp.Config{Trust: trustAll, MaxBody: 10})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		status, body, err := call(ctx, client, url)
		if status != http.StatusInternalServerError || !strings.Contains(body, "too large") {
			t.Errorf("got %d %q", status, body)
		}
		return err
	}, gtx.WithCoordinator(c))
	if !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("run: %v, want ErrAborted", err)
	}
}

func TestRedirects(t *testing.T) {
	c := memory.New()
	client, url := service(t, c, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusTemporaryRedirect)
		default:
			_ = memory.Branch(r.Context(), stock, confirm)
		}
	}, gtxhttp.Config{Trust: trustAll})
	if callErr, err := run(c, client, url+"/same"); errors.Join(callErr, err) != nil {
		t.Errorf("same host: %v, %v", callErr, err)
	}
	committed(t, c)
	if callErr, _ := run(c, client, url+"/away"); !errors.Is(callErr, gtxhttp.ErrRedirected) {
		t.Errorf("other host: %v, want ErrRedirected", callErr)
	}
}

func TestCallAfterTheEnd(t *testing.T) {
	c := memory.New()
	client, addr := service(t, c, func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") }, gtxhttp.Config{Trust: trustAll})
	var late context.Context
	if err := gtx.Run(t.Context(), func(ctx context.Context) error {
		late = context.WithoutCancel(ctx)
		return nil
	}, gtx.WithCoordinator(c)); err != nil {
		t.Fatal(err)
	}
	_, _, err := call(late, client, addr)
	var ue *url.Error
	if !errors.Is(err, gtx.ErrEnded) || !errors.As(err, &ue) {
		t.Errorf("call after the end: %v, want ErrEnded", err)
	}
}

func TestWrappedTwiceReportsOnce(t *testing.T) {
	c := memory.New()
	cfg := gtxhttp.Config{Trust: trustAll}
	inner := gtxhttp.Handler(c, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = memory.Branch(r.Context(), stock, confirm)
	}), cfg)
	client, url := plainService(t, gtxhttp.Handler(c, inner, cfg))
	if callErr, err := run(c, client, url); errors.Join(callErr, err) != nil {
		t.Fatal(callErr, err)
	}
	if refs := committed(t, c); len(refs) != 1 {
		t.Errorf("participants %v, want one", refs)
	}
}
