// Package chaos holds tests only. They run global transactions between
// databases while the processes of a whole system are killed, stopped, cut off,
// slowed and given a full or broken disk, and then prove from what was recorded
// that nobody was told anything else than what happened.
//
// Everything that can fail is a process of its own, which is the test binary
// run again in a role: three NATS servers, coordinators, applications. The
// databases are private servers of internal/testserver. All connections go
// through relays of the test's own process, the links, where they can be cut.
//
// The run in `go test` is bounded; `make chaos` runs for as long as CHAOS_FOR
// says. docs/reliability.md tells what is checked, and what each fault costs.
package chaos
