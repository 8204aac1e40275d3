// Package sim runs the commit protocol in a world that a seed makes up: several
// coordinators over one log, databases with row locks and undo rows, workers, and
// programs, with a network that loses, delays, repeats and reorders, and with
// crashes at any step (docs/simulation.md).
//
// It runs the shipped code: coordinator.Machine, coordinator.Call, gtx.Run and
// gtx.Join, gtx.Deliver, undo.Resolver and xa.Resolver over a model of a database.
// Only the driver's order of steps in a local transaction (rules T1 to T5, W2, W6, X1)
// is written down once more, in app.go and appxa.go, since the driver's own speaks SQL.
// What is not shipped is in textbook.go: three-phase commit with time-outs. What
// blocks runs as a coroutine; time is virtual; nothing depends on anything but
// the seed, so a seed that fails fails again.
//
// Properties are checked when something changes that they speak of, by code that
// shares nothing with the shipped one (truth.go): it reads the log by its own
// decoder and keeps the history of every row.
package sim
