package coordinator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// TestH4ClaimsKeepTheLimits: a claim adds acknowledgements that nobody else could add.
func TestH4ClaimsKeepTheLimits(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	cfg := some
	cfg.MaxUnfinished, cfg.MaxLive = 1, 100
	r := lead(t, log, 2, cfg)
	taken := 0
	for i := range uint64(20) {
		x.Seq = 16 * (i + 1)
		c := r.claim(x, ab...)
		r.land()
		var limit *LimitError
		if a := r.answer(c); errors.As(a.Err, &limit) {
			break
		}
		taken++
	}
	if limit := acksPerUnfinished * cfg.MaxUnfinished; r.m.owed > limit+len(ab) {
		t.Errorf("%d claims taken, %d acknowledgements outstanding, the limit of Begin is %d", taken, r.m.owed, limit)
	}
}

// TestH2PreCommitIsNoFlood: a transaction cannot make its leader send a thousand times what it took to begin it.
func TestH2PreCommitIsNoFlood(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	var rs []gtx.ResourceID
	for i := range 1024 {
		rs = append(rs, gtx.ResourceID(fmt.Sprintf("%0128d", i)))
	}
	c := r.call()
	r.step(Begin{Call: c, Timeout: time.Minute, Mode: gtx.ThreePhase, Resources: rs})
	a := r.answer(c)
	if a.Err != nil {
		return // bounded
	}
	var refs []gtx.BranchRef
	took := 128 * len(rs)
	for _, res := range rs {
		refs = append(refs, ref(res, 1))
		took += 2 * 150
		if err := r.register(a.XID, refs[len(refs)-1]); err != nil {
			t.Fatal(err)
		}
	}
	r.commit(a.XID, refs, nil)
	sent := 0
	for _, p := range r.pushes {
		for _, res := range p.Participants {
			sent += len(res)
		}
	}
	if sent > 100*took {
		t.Errorf("%d bytes of requests, %d bytes of one round of pushes", took, sent)
	}
}
