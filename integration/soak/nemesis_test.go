package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// victim is one kind of process that can be killed.
type victim struct {
	kind string
	pick func(w *world, r *rand.Rand) (name string, kill func(), start func() error)
}

// victims are those that the world has.
func (w *world) victims() (all []victim) {
	for _, role := range []string{"sender", "relay", "consumer", "nats", "coordinator"} {
		all = append(all, victim{role, func(w *world, r *rand.Rand) (string, func(), func() error) {
			list := w.role(role)
			s := list[r.IntN(len(list))]
			return s.proc.name, s.proc.kill, func() error { return w.start(s) }
		}})
	}
	for kind, st := range map[string]*store{"sender's database": w.from, "receiver's database": w.to} {
		if st.server != nil {
			all = append(all, victim{kind, func(*world, *rand.Rand) (string, func(), func() error) {
				return kind, st.server.Kill, func() error { st.server.Start(); return nil }
			}})
		}
	}
	return all
}

// nemesis kills processes, one after the other, and now and then two at once.
type nemesis struct {
	w      *world
	random *rand.Rand
	down   time.Duration // a process is away for up to this, and the time of its start
	pause  time.Duration // up to twice this goes by between two kills
	kills  map[string]int
	double int // times two were killed at once
}

// run kills every kind in random order, and again while there is to be more.
func (n *nemesis) run(ctx context.Context, more func() bool) error {
	all := n.w.victims()
	for {
		n.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i, v := range all {
			some := []victim{v}
			if other := n.random.IntN(len(all)); other != i && n.random.IntN(4) == 0 {
				some = append(some, all[other])
				n.double++
			}
			if err := n.kill(ctx, some); err != nil {
				return err
			}
		}
		if !more() {
			return nil
		}
	}
}

func (n *nemesis) kill(ctx context.Context, some []victim) error {
	if !await(ctx, time.Duration(n.random.Int64N(int64(2*n.pause)))) {
		return context.Cause(ctx)
	}
	var starts []func() error
	for _, v := range some {
		_, kill, start := v.pick(n.w, n.random)
		kill()
		n.kills[v.kind]++
		starts = append(starts, start)
	}
	gone := await(ctx, time.Duration(n.random.Int64N(int64(n.down))))
	var errs []error
	for i, start := range starts {
		if err := start(); err != nil {
			errs = append(errs, fmt.Errorf("start %s again: %w", some[i].kind, err))
		}
	}
	if !gone {
		errs = append(errs, context.Cause(ctx))
	}
	return errors.Join(errs...)
}
