package gtxgrpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxgrpc"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// liar joins by hand, has a branch that is confirmed, and reports what it likes.
func liar(c gtx.Coordinator, reports ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		text := metadata.ValueFromIncomingContext(ctx, gtxgrpc.KeyXID)[0]
		xid, err := gtx.ParseXID(text)
		if err != nil {
			return err
		}
		if _, _, err := gtx.Join(ctx, c, xid, func(ctx context.Context) error { return memory.Branch(ctx, stock, confirm) }); err != nil {
			return err
		}
		md := metadata.MD{}
		for _, r := range reports {
			md.Append(gtxgrpc.KeyBranches, strings.ReplaceAll(r, "XID", text))
		}
		return grpc.SetTrailer(ctx, md)
	}
}

// recovered is what many servers have: a panic becomes an error.
func recovered(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = status.Errorf(codes.Internal, "panic: %v", r)
		}
	}()
	return handle(ctx, req)
}

// The rows end in a branch that has committed locally and is not reported: rule
// C1 must abort although the caller ignores the error.
func TestLostAnswerAborts(t *testing.T) {
	c := memory.New()
	honest := serverOptions(c, gtxgrpc.Config{Trust: trustAll})
	cases := map[string]struct {
		check  func(context.Context) error
		server []grpc.ServerOption
		want   error      // what the call returns; nil: any error
		code   codes.Code // of it, where want is nil
	}{
		"handler panics": {
			check: func(ctx context.Context) error {
				_ = memory.Branch(ctx, stock, confirm)
				panic("broken")
			},
			server: append([]grpc.ServerOption{grpc.ChainUnaryInterceptor(recovered)}, honest...),
			code:   codes.Internal,
		},
		"peer without this package":     {check: liar(c), server: bare(), want: gtxgrpc.ErrNotJoined},
		"report of another transaction": {check: liar(c, "0000000000000007-0-1-99"), server: bare(), want: gtxgrpc.ErrBadReport},
		"empty report":                  {check: liar(c, ""), server: bare(), want: gtxgrpc.ErrBadReport},
		"several reports":               {check: liar(c, "XID", "XID"), server: bare(), want: gtxgrpc.ErrBadReport},
		"oversized report":              {check: liar(c, "XID +x/1"+strings.Repeat(",1", 40_000)), server: bare(), want: gtxgrpc.ErrBadReport},
		"too many branches":             {check: liar(c, "XID +x/1"+strings.Repeat(",1", 1024)), server: bare(), want: gtxgrpc.ErrBadReport},
		"report without the branch":     {check: liar(c, "XID"), server: bare(), code: codes.OK},
		"error with a bad report": {
			check: func(ctx context.Context) error {
				_ = liar(c, "forged")(ctx)
				return status.Error(codes.NotFound, "no such article")
			},
			server: bare(), want: gtxgrpc.ErrBadReport,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			client := service(t, c, tc.check, options{server: tc.server})
			callErr, err := run(c, client)
			switch {
			case tc.want != nil && !errors.Is(callErr, tc.want):
				t.Errorf("call: %v, want %v", callErr, tc.want)
			case tc.want == nil && status.Code(callErr) != tc.code:
				t.Errorf("call: %v, want %s", callErr, tc.code)
			}
			if !errors.Is(err, gtx.ErrAborted) {
				t.Errorf("run: %v, want ErrAborted", err)
			}
		})
	}
}

// A report that is not believed must not hide the call's own error.
func TestBadReportKeepsTheCallsError(t *testing.T) {
	c := memory.New()
	client := service(t, c, func(ctx context.Context) error {
		if err := grpc.SetTrailer(ctx, metadata.Pairs(gtxgrpc.KeyBranches, "forged")); err != nil {
			return err
		}
		return status.Error(codes.NotFound, "no such article")
	}, options{server: bare()})
	callErr, _ := run(c, client)
	if !errors.Is(callErr, gtxgrpc.ErrBadReport) || status.Code(callErr) != codes.NotFound {
		t.Errorf("call: %v", callErr)
	}
}

func TestBranchLeftOpenByTheHandlerAborts(t *testing.T) {
	c := memory.New()
	client := service(t, c, func(ctx context.Context) error {
		return memory.Branch(ctx, stock, func(*gtx.Tx, gtx.BranchRef) {})
	}, options{})
	callErr, err := run(c, client)
	if callErr != nil || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("call: %v, run: %v, want nil and ErrAborted", callErr, err)
	}
}

func TestPeerCannotKillAnothersBranch(t *testing.T) {
	c := memory.New()
	var own atomic.Value
	client := service(t, c, func(ctx context.Context) error {
		xid := metadata.ValueFromIncomingContext(ctx, gtxgrpc.KeyXID)[0]
		return grpc.SetTrailer(ctx, metadata.Pairs(gtxgrpc.KeyBranches, xid+" -"+own.Load().(string)))
	}, options{server: bare()})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		if err := memory.Branch(ctx, "own", func(tx *gtx.Tx, ref gtx.BranchRef) {
			tx.Confirm(ref)
			own.Store(fmt.Sprintf("%s/%d", ref.Resource, ref.Branch))
		}); err != nil {
			return err
		}
		return call(ctx, client)
	}, gtx.WithCoordinator(c))
	if err == nil || len(c.Committed()) != 0 {
		t.Errorf("run: %v, want an abort", err)
	}
}

func TestCancelledCallAborts(t *testing.T) {
	c := memory.New()
	registered, gone := make(chan struct{}), make(chan struct{})
	client := service(t, c, func(ctx context.Context) error {
		defer close(gone)
		_ = memory.Branch(ctx, stock, confirm)
		close(registered)
		<-ctx.Done()
		return ctx.Err()
	}, options{})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		callCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			<-registered
			cancel()
		}()
		if err := call(callCtx, client); status.Code(err) != codes.Canceled {
			t.Errorf("call: %v, want Canceled", err)
		}
		return nil
	}, gtx.WithCoordinator(c))
	if !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("run: %v, want ErrAborted", err)
	}
	<-gone
}

const retryUnavailable = `{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// gRPC's own retries show one attempt's trailer only. If the handler of another
// has done something, its branches are in no report.
func TestRetryByServiceConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		firstWrites bool
		want        error
	}{"first attempt had a branch": {true, gtx.ErrAborted}, "first attempt did nothing": {false, nil}} {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			var tries atomic.Int32
			client := service(t, c, func(ctx context.Context) error {
				if tries.Add(1) == 1 {
					if tc.firstWrites {
						_ = memory.Branch(ctx, stock, confirm)
					}
					return status.Error(codes.Unavailable, "try again")
				}
				return memory.Branch(ctx, stock, confirm)
			}, options{dial: append(gtxgrpc.DialOptions(), grpc.WithDefaultServiceConfig(retryUnavailable))})
			callErr, err := run(c, client)
			if callErr != nil || !errors.Is(err, tc.want) || tries.Load() != 2 {
				t.Errorf("call: %v, run: %v in %d tries, want nil and %v in 2", callErr, err, tries.Load(), tc.want)
			}
		})
	}
}

// hedge is an interceptor that sends a call twice and takes the first answer.
func hedge(bothRun *sync.WaitGroup) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		answers := make(chan error, 2)
		var both sync.WaitGroup
		for range 2 {
			// The replies carry nothing, so it is no loss that nobody reads them.
			both.Go(func() { answers <- invoke(ctx, method, req, proto.Clone(reply.(proto.Message)), cc, opts...) })
		}
		bothRun.Wait()
		first := <-answers
		cancel()
		both.Wait()
		return first
	}
}

// Both attempts of a hedged call run the handler, one reports.
func TestHedgedCallAborts(t *testing.T) {
	c := memory.New()
	var bothRun sync.WaitGroup
	bothRun.Add(2)
	var tries atomic.Int32
	client := service(t, c, func(ctx context.Context) error {
		err := memory.Branch(ctx, stock, confirm)
		loses := tries.Add(1) == 2
		bothRun.Done()
		if loses {
			<-ctx.Done()
		}
		return err
	}, options{dial: append([]grpc.DialOption{grpc.WithChainUnaryInterceptor(hedge(&bothRun))}, gtxgrpc.DialOptions()...)})
	callErr, err := run(c, client)
	if callErr != nil || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("call: %v, run: %v, want nil and ErrAborted", callErr, err)
	}
}

// An interceptor before ours that tries again makes two calls of it, each with its
// own report.
func TestRetryByAnInterceptorReportsBoth(t *testing.T) {
	again := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if status.Code(err) == codes.Unavailable {
			err = invoke(ctx, method, req, reply, cc, opts...)
		}
		return err
	}
	for name, tc := range map[string]struct {
		dial []grpc.DialOption
		want error
	}{
		"before": {append([]grpc.DialOption{grpc.WithChainUnaryInterceptor(again)}, gtxgrpc.DialOptions()...), nil},
		"after":  {append(gtxgrpc.DialOptions(), grpc.WithChainUnaryInterceptor(again)), gtx.ErrAborted},
	} {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			var tries atomic.Int32
			client := service(t, c, func(ctx context.Context) error {
				err := memory.Branch(ctx, stock, confirm)
				if tries.Add(1) == 1 {
					return status.Error(codes.Unavailable, "try again")
				}
				return err
			}, options{dial: tc.dial})
			callErr, err := run(c, client)
			if callErr != nil || !errors.Is(err, tc.want) {
				t.Fatalf("call: %v, run: %v, want nil and %v", callErr, err, tc.want)
			}
			if tc.want == nil && len(committed(t, c)) != 2 {
				t.Errorf("participants %v, want two", committed(t, c))
			}
		})
	}
}

// A list of branches that does not fit is a clear error and an abort, whether this
// package finds it or gRPC.
func TestReportThatDoesNotFitAborts(t *testing.T) {
	many := func(ctx context.Context) error {
		for i := range 40 { // one for each of as many databases: nothing to shorten
			if err := memory.Branch(ctx, gtx.ResourceID(fmt.Sprintf("%s-%d", stock, i)), confirm); err != nil {
				return err
			}
		}
		return nil
	}
	cases := map[string]struct {
		limit int
		dial  []grpc.DialOption
		code  codes.Code
		text  string
	}{
		"for the server": {limit: 1000, code: codes.ResourceExhausted, text: "at most 1000"},
		"for the client": {limit: 64 << 10, dial: append(gtxgrpc.DialOptions(), grpc.WithMaxHeaderListSize(1000)), code: codes.Internal},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			client := service(t, c, many, options{server: serverOptions(c, gtxgrpc.Config{Trust: trustAll, MaxReport: tc.limit}), dial: tc.dial})
			callErr, err := run(c, client)
			if status.Code(callErr) != tc.code || !strings.Contains(callErr.Error(), tc.text) {
				t.Errorf("call: %v, want %s with %q", callErr, tc.code, tc.text)
			}
			if !errors.Is(err, gtx.ErrAborted) {
				t.Errorf("run: %v, want ErrAborted", err)
			}
		})
	}
	t.Run("not", func(t *testing.T) {
		c := memory.New()
		client := service(t, c, many, options{})
		if callErr, err := run(c, client); errors.Join(callErr, err) != nil || len(committed(t, c)) != 40 {
			t.Errorf("call: %v, run: %v", callErr, err)
		}
	})
}

// refuse fails where everything has gone well, as an interceptor that validates
// answers may.
func refuse(err error) error {
	if err == nil {
		err = status.Error(codes.DataLoss, "the answer is not valid")
	}
	return err
}

// The handler has succeeded and its report is in the trailer, and the caller has no
// answer for all that: it must not depend on him that the transaction is aborted.
func TestAnswerThatIsLostBesideItsReportAborts(t *testing.T) {
	refuseOnServer := grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		resp, err := handle(ctx, req)
		return resp, refuse(err)
	})
	refuseOnClient := grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return refuse(invoke(ctx, method, req, reply, cc, opts...))
	})
	cases := map[string]struct {
		server grpc.ServerOption
		dial   grpc.DialOption
		code   codes.Code
	}{
		"too large to send":      {server: grpc.MaxSendMsgSize(1), code: codes.ResourceExhausted},
		"too large to receive":   {dial: grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1)), code: codes.ResourceExhausted},
		"refused on the service": {server: refuseOnServer, code: codes.DataLoss},
		"refused on the caller":  {dial: refuseOnClient, code: codes.DataLoss},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			o := options{server: serverOptions(c, gtxgrpc.Config{Trust: trustAll}), dial: gtxgrpc.DialOptions()}
			if tc.server != nil {
				o.server = append([]grpc.ServerOption{tc.server}, o.server...)
			}
			if tc.dial != nil {
				o.dial = append(o.dial, tc.dial)
			}
			client := service(t, c, func(ctx context.Context) error { return memory.Branch(ctx, stock, confirm) }, o)
			callErr, err := run(c, client)
			if status.Code(callErr) != tc.code || !errors.Is(err, gtx.ErrAborted) {
				t.Errorf("call: %v, run: %v, want %s and ErrAborted", callErr, err, tc.code)
			}
		})
	}
}
