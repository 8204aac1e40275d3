package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// callStep feeds a Call one thing at a time since its start, in milliseconds.
type callStep struct {
	at    int
	reply *coordinator.Reply // or
	fail  error              // or
	quit  error              // or nothing: the time of the last Next has come

	send bool // what is wanted
	next int  // wanted, in milliseconds since the start; 0: the end
}

var (
	errRefused    = errors.New("refused")
	notLeader     = &coordinator.Reply{Err: fmt.Errorf("look up: %w", coordinator.ErrNotLeader)}
	callOverload  = &coordinator.Reply{Err: coordinator.ErrOverload}
	callPending   = &coordinator.Reply{Status: gtx.Pending}
	callCommitted = &coordinator.Reply{Status: gtx.Committed}
	callAborted   = &coordinator.Reply{Status: gtx.Aborted}
)

// TestC4Call proves what is asked again and what the caller hears: an answer,
// or that there is none. Tries wait 100 ms, pauses are 10, 20, 40, 40 ms, the
// deadline is at 300 ms.
func TestC4Call(t *testing.T) {
	tests := []struct {
		name   string
		decide bool
		steps  []callStep
		tries  int
		status gtx.Status
		is     []error // empty: no error
		not    []error
	}{
		{
			name: "answer", tries: 1, status: gtx.Committed, decide: true,
			steps: []callStep{{at: 5, reply: callCommitted}},
		},
		{
			name: "aborted is final for a commit", tries: 1, status: gtx.Aborted, decide: true,
			steps: []callStep{{at: 5, reply: callAborted}},
		},
		{
			name: "pending is an answer to other questions", tries: 1, status: gtx.Pending,
			steps: []callStep{{at: 5, reply: callPending}},
		},
		{
			name: "a refusal is final", tries: 1, is: []error{errRefused}, not: []error{gtx.ErrUnavailable},
			steps: []callStep{{at: 5, reply: &coordinator.Reply{Err: errRefused}}},
		},
		{
			name: "a limit is final, C sheds load early", tries: 1, is: []error{gtx.ErrUnavailable},
			steps: []callStep{{at: 5, reply: &coordinator.Reply{Err: &coordinator.LimitError{What: "branches", Limit: 1}}}},
		},
		{
			name: "L6: the next leader is asked", tries: 2, status: gtx.Committed, decide: true,
			steps: []callStep{
				{at: 5, reply: notLeader, next: 15},
				{at: 15, send: true, next: 115},
				{at: 20, reply: callCommitted},
			},
		},
		{
			name: "L4: a commit that is not yet durable is asked again", tries: 2, status: gtx.Committed, decide: true,
			steps: []callStep{
				{at: 5, reply: callPending, next: 15},
				{at: 15, send: true, next: 115},
				{at: 20, reply: callCommitted},
			},
		},
		{
			name: "pauses grow to their limit", tries: 5, is: []error{gtx.ErrUnavailable, coordinator.ErrOverload, errRefused},
			steps: []callStep{
				{at: 0, fail: errRefused, next: 10},
				{at: 10, send: true, next: 110},
				{at: 10, reply: callOverload, next: 30},
				{at: 30, send: true, next: 130},
				{at: 30, reply: callOverload, next: 70},
				{at: 70, send: true, next: 170},
				{at: 70, reply: callOverload, next: 110},
				{at: 110, send: true, next: 210},
				{at: 150, quit: errRefused},
			},
		},
		{
			name: "no answer until the deadline", tries: 3, is: []error{coordinator.ErrNoAnswer, gtx.ErrUnavailable},
			steps: []callStep{
				{at: 100, next: 110},
				{at: 110, send: true, next: 210},
				{at: 210, next: 230},
				{at: 230, send: true, next: 300},
				{at: 300},
			},
		},
		{
			name: "a late answer to an earlier try counts", tries: 2, status: gtx.Committed, decide: true,
			steps: []callStep{
				{at: 100, next: 110},
				{at: 110, send: true, next: 210},
				{at: 111, reply: callCommitted},
			},
		},
		{
			name: "an answer during the pause counts", tries: 1, status: gtx.Aborted, decide: true,
			steps: []callStep{{at: 100, next: 110}, {at: 105, reply: callAborted}},
		},
		{
			name: "answers that settle nothing do not prolong a pause", tries: 2, status: gtx.Committed, decide: true,
			steps: []callStep{
				{at: 5, reply: callPending, next: 15},
				{at: 9, reply: callPending, next: 15},
				{at: 14, fail: errRefused, next: 15},
				{at: 15, send: true, next: 115},
				{at: 16, reply: callCommitted},
			},
		},
		{
			name: "a pause ends with the deadline", tries: 1, status: gtx.Pending, decide: true,
			steps: []callStep{{at: 295, reply: callPending, next: 300}, {at: 300}},
		},
		{
			name: "a caller that gives up", tries: 1, is: []error{gtx.ErrUnavailable, context.Canceled},
			steps: []callStep{{at: 5, quit: context.Canceled}},
		},
		{
			name: "a wake-up too early changes nothing", tries: 1, status: gtx.Committed,
			steps: []callStep{{at: 50, next: 100}, {at: 60, reply: callCommitted}},
		},
		{
			name: "nothing counts behind the end", tries: 1, status: gtx.Committed, decide: true,
			steps: []callStep{
				{at: 5, reply: callCommitted},
				{at: 6, reply: callAborted},
				{at: 7, fail: errRefused},
				{at: 8, quit: errRefused},
				{at: 300},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			ms := func(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
			c := coordinator.Call{Deadline: ms(300), Decide: tt.decide, Pace: coordinator.Pace{
				Try: 100 * time.Millisecond, PauseMin: 10 * time.Millisecond, PauseMax: 40 * time.Millisecond,
			}}
			if got := c.Start(start); !got.Send || !got.At.Equal(ms(100)) || got.Done {
				t.Fatalf("start: %+v", got)
			}
			const jitter = 1 // the whole pause
			for i, s := range tt.steps {
				var got coordinator.Next
				switch now := ms(s.at); {
				case s.reply != nil:
					got = c.Reply(now, *s.reply, jitter)
				case s.fail != nil:
					got = c.Fail(now, s.fail, jitter)
				case s.quit != nil:
					got = c.GiveUp(s.quit)
				default:
					got = c.Expire(now, jitter)
				}
				want := coordinator.Next{Send: s.send, At: ms(s.next)}
				if s.next == 0 {
					want = coordinator.Next{Done: true}
				}
				if got != want {
					t.Fatalf("step %d: got %+v, want %+v", i, got, want)
				}
			}
			r, err := c.Result()
			if r.Status != tt.status || c.Tries() != tt.tries || (err == nil) != (len(tt.is) == 0) {
				t.Errorf("got %s, %v in %d tries", r.Status, err, c.Tries())
			}
			for _, is := range tt.is {
				if !errors.Is(err, is) {
					t.Errorf("%v is not %v", err, is)
				}
			}
			for _, not := range tt.not {
				if errors.Is(err, not) {
					t.Errorf("%v is %v", err, not)
				}
			}
		})
	}
}

func TestCallWithoutTime(t *testing.T) {
	now := time.Unix(1000, 0)
	c := coordinator.Call{Deadline: now}
	if next := c.Start(now); !next.Done || next.Send {
		t.Errorf("start: %+v", next)
	}
	if _, err := c.Result(); !errors.Is(err, coordinator.ErrNoAnswer) {
		t.Errorf("result: %v", err)
	}
}

func TestCallJitter(t *testing.T) {
	now := time.Unix(1000, 0)
	for jitter, want := range map[float64]time.Duration{0: 5 * time.Millisecond, 0.5: 7500 * time.Microsecond} {
		c := coordinator.Call{Deadline: now.Add(time.Hour), Pace: coordinator.Pace{
			Try: time.Second, PauseMin: 10 * time.Millisecond, PauseMax: time.Second,
		}}
		c.Start(now)
		if got := c.Fail(now, errRefused, jitter).At.Sub(now); got != want {
			t.Errorf("pause with jitter %v is %v, want %v", jitter, got, want)
		}
	}
}
