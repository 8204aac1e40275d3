package xa

import (
	"context"
	"database/sql/driver"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Ability is what a server told about preparing.
type Ability struct {
	// Tied: a prepared branch keeps its session, which can do nothing else, and nobody else
	// can end the branch while it lives (MariaDB).
	Tied bool
}

// Dialect is the port to one family of databases that can prepare. It holds no state and
// is safe for concurrent use. Texts may hold several statements; names need no quoting
// beyond what the dialect gives them.
type Dialect interface {
	// Check finds out, in at most two round trips, whether the server and this user can
	// prepare, end what others of this module have prepared, and list it. The error is a
	// *gtx.UnsupportedError with code "prepare" and the setting or privilege to change. full
	// asks as well whether there is room for one more now, which changes by the minute.
	Check(ctx context.Context, q undo.Query, full bool) (Ability, error)

	// Begin gives the texts that begin a branch, to be run in this order. Isolation levels
	// that it does not know are an error.
	Begin(n Name, opts driver.TxOptions) ([]string, error)
	// Prepare gives the text that prepares it, after which nothing of it can fail. It must
	// fail where the local transaction has failed. look, if not "", is a query: where it
	// gives a row, Prepare must fail with an error for which Held is true; only used where
	// proxy.Reading.SeesNow.
	Prepare(n Name, look string) string
	// Held tells that err is what look in Prepare has brought about.
	Held(err error) bool
	// Commit gives the text that commits in one phase a branch that is not prepared. Never
	// after Prepare has been sent.
	Commit(n Name) string
	// Rollback gives the texts that roll back a branch that is not prepared: each is run,
	// and only the error of the last one counts.
	Rollback(n Name) []string

	// End gives the text that ends a prepared branch, from any session unless it is tied.
	End(n Name, commit bool) string
	// List gives the prepared branches of database, and no others. It does not lock. It
	// does not leave out a branch that is being prepared and whose PREPARE has been
	// acknowledged.
	List(ctx context.Context, q undo.Query, database gtx.ResourceID) ([]Name, error)
	// Again tells that err, of End, says nothing about the end: the server does not know the
	// name, or not in this session, or somebody else is ending it. Look whether it is listed.
	Again(err error) bool
	// RolledBack tells that err, of Prepare, is the server's word that the branch has been
	// rolled back, or can only be rolled back: run Rollback, it may own the session still.
	// True for what Held is true for. Any other error leaves it open whether it is prepared,
	// and Rollback must not run: on MySQL it would roll back a prepared branch, too.
	RolledBack(err error) bool
}

// Attacher is a Dialect of servers where a branch must not be ended by its name before
// they have let go of the session that has prepared it (MariaDB).
type Attacher interface {
	// Attached gives ids of the prepared branches of the server, of every program, that
	// still have a session. An id means one session's branch and never comes back. Where
	// the server at hand needs none of this it gives none, without asking.
	Attached(ctx context.Context, q undo.Query) ([]string, error)
}
