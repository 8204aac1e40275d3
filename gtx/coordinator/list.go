package coordinator

// links make a T a member of one list.
type links[T any] struct{ prev, next *T }

type linked[T any] interface {
	*T
	links() *links[T]
}

// list is a doubly linked list of Ts that hold their own links: a member is
// taken out without a search and without garbage.
type list[T any, P linked[T]] struct {
	head, tail *T
	n          int
}

// push adds t, which is in no list, at the end.
func (l *list[T, P]) push(t *T) {
	k := P(t).links()
	k.prev, k.next = l.tail, nil
	if l.tail == nil {
		l.head = t
	} else {
		P(l.tail).links().next = t
	}
	l.tail = t
	l.n++
}

// remove takes out t, which is in l.
func (l *list[T, P]) remove(t *T) {
	k := P(t).links()
	if k.prev == nil {
		l.head = k.next
	} else {
		P(k.prev).links().next = k.next
	}
	if k.next == nil {
		l.tail = k.prev
	} else {
		P(k.next).links().prev = k.prev
	}
	*k = links[T]{}
	l.n--
}
