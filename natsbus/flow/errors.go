package flow

import "errors"

var (
	// ErrStart is returned by Start for what could not be a flow. Nothing was written.
	ErrStart = errors.New("flow: cannot be started")

	// ErrNotFound is returned when a database has no flow with an id.
	ErrNotFound = errors.New("flow: no such flow")

	// errLater: the sender asks again.
	errLater = errors.New("given back until the sender asks again")

	// errOld: whether the step has run before is not known any more.
	errOld = errors.New("the flow began longer ago than Config.Keep: whether its step was done is not known any more")
)
