package xa

import (
	"context"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Store is what phase two needs of a database. NewResolver makes one of Config.DB; a
// simulation brings its own. Safe for concurrent use.
type Store interface {
	// Database gives the identity of the database.
	Database(ctx context.Context) (gtx.ResourceID, error)
	// List gives its prepared branches.
	List(ctx context.Context) ([]Name, error)
	// End commits or rolls back a prepared branch. An error that Again knows says nothing.
	End(ctx context.Context, n Name, commit bool) error
	// Again is that of Dialect.
	Again(err error) bool
	// Attached gives ids of the prepared branches of the server, of every program, whose
	// session has not let go of them, where that matters (Attacher); else nothing.
	Attached(ctx context.Context) ([]string, error)
	// Check tells whether the database could prepare one more branch now.
	Check(ctx context.Context) error
	// Classify sorts errors.
	Classify(err error) undo.ErrorClass
}
