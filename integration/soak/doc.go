// Package soak holds tests only. They send messages from one database to another through
// natsbus/outbox, JetStream and natsbus/inbox, kill every process on the way with SIGKILL
// at random times, and then count: each message that was committed has taken effect once,
// those that were rolled back never, and those of one key in the order of their commits.
//
// Everything that can fail is a process of its own: two senders, two relays, two
// consumers, the NATS server, a coordinator (some messages are sent in global
// transactions), and the two databases. All but the databases are the test binary run
// again in a role.
//
// The run in `go test` is bounded; `make soak` sends SOAK_MESSAGES. docs/reliability.md
// has its counts, and says what SIGKILL does not show.
package soak
