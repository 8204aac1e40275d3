package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// roundTime bounds the wait until a worker stands between the local commits.
const roundTime = 60 * time.Second

// crashes kills a worker, coordinator included, between the two local commits,
// again and again on the same databases and decision log. Then it opens
// everything once more, in this process, and proves that nothing is lost.
func (d *demo) crashes(ctx context.Context, stop <-chan struct{}) error {
	fmt.Fprintf(d.std.out, "%d times: SIGKILL between the local commits, %d workers, %d accounts in each bank\n  from  %s\n  to    %s\n",
		d.rounds, d.workers, d.accounts, d.from.show, d.to.show)
	// The base drivers resolve nothing, so what a crash leaves can be counted.
	plain, closePlain, err := d.openBank(false)
	if err != nil {
		return err
	}
	defer closePlain()
	if err := d.create(ctx, plain); err != nil {
		return err
	}
	outcomes := map[string]gtx.Status{}
	var log uint64
	for n := 1; n <= d.rounds; n++ {
		r, err := d.crash(ctx, n, stop)
		for _, id := range r.committed {
			outcomes[id] = gtx.Committed
		}
		if r.stopped {
			fmt.Fprintln(d.std.out, "stopped: no more rounds, finishing")
			break
		}
		if err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
		log = r.xid.Log
		left, err := plain.Leftovers(ctx, log)
		if err != nil {
			return err
		}
		if left.None() {
			return fmt.Errorf("round %d: killed between the local commits, yet nothing is left", n)
		}
		fmt.Fprintf(d.std.out, "round %-3d  killed at %s (%s), %d committed before; left: %s\n", n, r.between, r.xid, len(r.committed), left)
	}
	return d.reopen(ctx, log, outcomes)
}

// reopen resolves what the last crash left and verifies.
func (d *demo) reopen(ctx context.Context, log uint64, outcomes map[string]gtx.Status) error {
	begin := time.Now()
	_, closeBus, err := d.openBus(ctx)
	if err != nil {
		return err
	}
	defer closeBus()
	b, closeBank, err := d.openBank(true)
	if err != nil {
		return err
	}
	defer closeBank()
	settled, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if _, err := b.AwaitNone(settled, log, nil); err != nil {
		return err
	}
	fmt.Fprintf(d.std.out, "resolved   everything, %.1f s after the last start\n", time.Since(begin).Seconds())
	fmt.Fprintf(d.std.out, "committed  %d transfers as far as their process lived to tell\n", len(outcomes))
	return d.verify(settled, b, log, outcomes)
}

// round is what one worker told before it was killed.
type round struct {
	committed []string
	between   string
	xid       gtx.XID
	stopped   bool // by the user, not between the commits
}

// crash starts a worker and kills it when it stands between the local commits,
// or when stop closes.
func (d *demo) crash(ctx context.Context, n int, stop <-chan struct{}) (r round, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.Command(self, workerCommand)
	cmd.Stderr = d.std.err
	in, err := cmd.StdinPipe()
	if err != nil {
		return r, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // its error is the kill
	}()
	random := rand.New(rand.NewPCG(d.seed, uint64(n)))
	if err := json.NewEncoder(in).Encode(workerOrder{
		From: d.from.text, To: d.to.text, Dir: d.dir, Name: d.name, Accounts: d.accounts,
		Workers: d.workers, Fail: float64(d.fail), Seed: random.Uint64(), Prefix: fmt.Sprintf("r%d-", n),
		CrashAt: 20 + random.Int64N(60),
	}); err != nil {
		return r, fmt.Errorf("send order to worker: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	news := make(chan workerNews)
	go read(out, news)
	for {
		select {
		case item, open := <-news:
			switch {
			case !open && r.between != "":
				return r, nil // dead, and everything it told has been read
			case !open && r.stopped:
				return r, nil
			case !open:
				return r, errors.New("the worker ended before it stood between the local commits")
			case item.Problem != "":
				err = errors.New(item.Problem)
				drain(news, &r, cmd.Process)
				return r, err
			case item.Between != "":
				r.between, r.xid = item.Between, item.XID
				if err := cmd.Process.Kill(); err != nil {
					return r, fmt.Errorf("kill worker: %w", err)
				}
			default:
				r.committed = append(r.committed, item.Committed)
			}
		case <-stop:
			stop, r.stopped = nil, r.between == ""
			_ = cmd.Process.Kill()
		case <-bounded.Done():
			drain(news, &r, cmd.Process)
			return r, fmt.Errorf("the worker did not come between the local commits: %w", bounded.Err())
		}
	}
}

// drain kills p and takes what it still told.
func drain(news <-chan workerNews, r *round, p *os.Process) {
	_ = p.Kill()
	for item := range news {
		if item.Committed != "" {
			r.committed = append(r.committed, item.Committed)
		}
	}
}

// read sends each whole line of the worker to news, and closes it at the end.
func read(out io.Reader, news chan<- workerNews) {
	defer close(news)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var item workerNews
		if err := json.Unmarshal(lines.Bytes(), &item); err != nil {
			return // cut off by the kill
		}
		news <- item
	}
}
