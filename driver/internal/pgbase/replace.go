package pgbase

import "errors"

// Replace gives err with another error of the server in place of the one in its
// chain. Nothing of err is changed: a hook of the base driver may have kept it.
func Replace[E interface {
	error
	comparable
}](err error, change func(E) E,
) error {
	var old E
	if !errors.As(err, &old) {
		return err
	}
	fresh := change(old)
	if same, ok := err.(E); ok && same == old { //nolint:errorlint // the chain has been looked at
		return fresh
	}
	return &replaced[E]{err, fresh}
}

// replaced is a chain in which another error answers for its last one.
type replaced[E error] struct {
	error
	fresh E
}

func (r *replaced[E]) As(target any) bool {
	p, ok := target.(*E)
	if ok {
		*p = r.fresh
	}
	return ok
}

func (r *replaced[E]) Unwrap() error { return r.error }
