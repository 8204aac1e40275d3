package gtxhttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxhttp"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// cut is a service whose connection breaks in the body of its answer, after the
// header with the report.
func cut(t *testing.T, c gtx.Coordinator) (*http.Client, string) {
	h := gtxhttp.Handler(c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := memory.Branch(r.Context(), stock, confirm); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "the beginning")
	}), gtxhttp.Config{Trust: trustAll})
	return plainService(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	}))
}

func TestAnswerThatIsLostInItsBodyAborts(t *testing.T) {
	c := memory.New()
	client, url := cut(t, c)
	callErr, err := run(c, client, url)
	if !errors.Is(callErr, io.ErrUnexpectedEOF) || err == nil || len(c.Committed()) != 0 {
		t.Errorf("call: %v, run: %v, want an unexpected EOF and an abort", callErr, err)
	}
}

// The service in the middle makes nothing of the loss: its report must not hide it.
func TestAnswerThatIsLostInTheMiddleAborts(t *testing.T) {
	c := memory.New()
	inner, innerURL := cut(t, c)
	client, url := service(t, c, func(_ http.ResponseWriter, r *http.Request) {
		if _, _, err := call(r.Context(), inner, innerURL); err == nil {
			t.Error("the inner answer is whole")
		}
	}, gtxhttp.Config{Trust: trustAll})
	callErr, err := run(c, client, url)
	if callErr != nil || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("call: %v, run: %v, want nil and ErrAborted", callErr, err)
	}
}

// A caller for whom the header is enough has lost nothing.
func TestBodyThatIsNotReadIsNotLost(t *testing.T) {
	c := memory.New()
	client, url := cut(t, c)
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
			t.Error("a closed body can be read")
		}
		return nil
	}, gtx.WithCoordinator(c))
	if err != nil || len(committed(t, c)) != 1 {
		t.Errorf("run: %v, want one branch committed", err)
	}
}
