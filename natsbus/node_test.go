package natsbus

import (
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// Two nodes that depose each other without hearing each other do it more and
// more seldom.
func TestLosersWaitLonger(t *testing.T) {
	n := &node{Service: &Service{cfg: ServiceConfig{TakeoverAfter: time.Second}}}
	for losses, least := range []time.Duration{1, 2, 4, 8, 16, 32, 32, 32} {
		n.losses = losses
		least *= time.Second
		for range 100 {
			if got := n.wait(); got < least || got > least*5/4 {
				t.Fatalf("waits %v after %d losses, want %v to %v", got, losses, least, least*5/4)
			}
		}
	}
}

func TestInboxTakesAllOrNothing(t *testing.T) {
	b := newInbox()
	some := make([]coordinator.Event, inboxLimit-1)
	for i := range some {
		some[i] = coordinator.Tick{}
	}
	two := []coordinator.Event{coordinator.Flush{}, coordinator.Barrier{}}
	if !b.put(some) || b.put(two) || !b.put(two[:1]) || b.put(two[1:]) {
		t.Error("the limit is not where it should be")
	}
	got := b.take(nil)
	if len(got) != inboxLimit || got[inboxLimit-1] != two[0] {
		t.Errorf("took %d events, the last is %#v", len(got), got[len(got)-1])
	}
	if !b.put(two) {
		t.Error("full although all was taken")
	}
	if got := b.take(got); len(got) != 2 || got[0] != two[0] || got[1] != two[1] {
		t.Errorf("took %#v", got)
	}
	b.close()
	if b.put(two) || len(b.take(nil)) != 0 {
		t.Error("closed, and takes more")
	}
}
