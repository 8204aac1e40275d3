package xa

import (
	"context"
	"slices"
)

// loose gives those of names, which a look has just listed, that no session can have any
// more (rule X4). While the session that has prepared a branch is being closed, MariaDB
// gives the name free before the transaction: who ends it by its name in between is told
// that it has ended, it vanishes from the list, and it keeps its locks until the server
// is started again.
//
// Which session is whose cannot be seen. So a branch is loose when each session that had
// one after it was listed has been without at some time since. What is remembered for it
// shrinks with every look.
func (r *Resolver) loose(ctx context.Context, names []Name) ([]Name, error) {
	now, err := r.sessions(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var free []Name
	for _, n := range names {
		ids, seen := r.attached[n]
		if !seen {
			ids = now
		} else {
			ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !slices.Contains(now, id) })
		}
		if len(ids) > 0 {
			r.attached[n] = ids
			continue
		}
		free = append(free, n)
	}
	return free, nil
}

// sessions asks for those that matter, where any can.
func (r *Resolver) sessions(ctx context.Context) ([]string, error) {
	if r.cfg.Store == nil {
		if a, err := r.Able(ctx); err == nil && !a.Tied {
			return nil, nil
		}
	}
	return r.store.Attached(ctx)
}
