package coordinator

// instant is a time in nanoseconds since 1970. While a machine is stepped it
// follows the monotonic reading of the times it gets, so a clock that is set
// moves no deadline.
type instant int64

// alarm is what makes a member of timers: when, and where in the heap.
type alarm struct {
	at   instant
	slot int32 // 1-based, 0 when in no heap
}

type alarmed interface{ alarm() *alarm }

// timers is a binary heap ordered by at; a member is in it once or not at all.
type timers[T alarmed] []T

// first is when the earliest is due.
func (h timers[T]) first() (instant, bool) {
	if len(h) == 0 {
		return 0, false
	}
	return h[0].alarm().at, true
}

// set puts t at its time at, from wherever it was.
func (h *timers[T]) set(t T, at instant) {
	a := t.alarm()
	a.at = at
	if a.slot == 0 {
		*h = append(*h, t)
		a.slot = int32(len(*h)) //nolint:gosec // bounded by the limits of Config
	}
	h.fix(int(a.slot) - 1)
}

// remove takes t out if it is in.
func (h *timers[T]) remove(t T) {
	a := t.alarm()
	if a.slot == 0 {
		return
	}
	i, last := int(a.slot)-1, len(*h)-1
	h.swap(i, last)
	var none T
	(*h)[last] = none
	*h = (*h)[:last]
	a.slot = 0
	if i < last {
		h.fix(i)
	}
}

// fix moves the member at i to where its time belongs.
func (h *timers[T]) fix(i int) {
	s := *h
	for i > 0 {
		up := (i - 1) / 2
		if s[up].alarm().at <= s[i].alarm().at {
			break
		}
		h.swap(i, up)
		i = up
	}
	for {
		c := 2*i + 1
		if c >= len(s) {
			return
		}
		if c+1 < len(s) && s[c+1].alarm().at < s[c].alarm().at {
			c++
		}
		if s[i].alarm().at <= s[c].alarm().at {
			return
		}
		h.swap(i, c)
		i = c
	}
}

func (h *timers[T]) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].alarm().slot, s[j].alarm().slot = int32(i+1), int32(j+1) //nolint:gosec // as in set
}
