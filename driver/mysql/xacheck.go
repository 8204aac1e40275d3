package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// errEmptyQuery is what some versions of MySQL say to a text that is a comment to them;
// others give a result without rows.
const errEmptyQuery = 1065

// innodbStatus is asked of MariaDB only. It is not cached, unlike the tables of
// information_schema.
const innodbStatus = "/*M! SHOW ENGINE INNODB STATUS */"

// Check asks for variables, and then tries what the scan will do. full adds nothing:
// there is no limit on prepared branches.
//
// MySQL before 8.0.29, and with xa_detach_on_prepare=OFF, ties a branch to its session
// as MariaDB does, and is refused: it has the same race while a session is closed (see
// Attached), and no need for it.
func (XA) Check(ctx context.Context, q undo.Query, _ bool) (xa.Ability, error) {
	rows, err := q(ctx, "SHOW VARIABLES WHERE Variable_name IN ('version', 'read_only', 'super_read_only', 'innodb_read_only',"+
		" 'transaction_read_only', 'tx_read_only', 'xa_detach_on_prepare', 'wsrep_on')")
	if err != nil {
		return xa.Ability{}, fmt.Errorf("read variables: %w", err)
	}
	vars := map[string]string{}
	for _, r := range rows {
		vars[r[0]] = r[1]
	}
	maria := strings.Contains(vars["version"], "MariaDB")
	a := xa.Ability{Tied: maria}
	for _, name := range []string{"read_only", "super_read_only", "innodb_read_only", "transaction_read_only", "tx_read_only"} {
		if vars[name] == "ON" { // rule A2
			return a, unprepared(name+" is on: a replica, or a session that may not write", "connect to the primary")
		}
	}
	switch {
	case vars["wsrep_on"] == "ON":
		return a, unprepared("a Galera cluster does not prepare", "use mode AT")
	case !maria && vars["xa_detach_on_prepare"] != "ON":
		return a, unprepared("this server leaves a prepared branch to the session that prepared it, and can lose it when that is closed",
			"use MySQL 8.0.29 or newer with xa_detach_on_prepare=ON, which is its default")
	case maria:
		_, err = q(ctx, innodbStatus)
	default:
		_, err = q(ctx, "XA RECOVER")
	}
	switch {
	case err == nil:
		return a, nil
	case maria && Dialect{}.Classify(err) == undo.Denied:
		return a, unprepared("this user lacks PROCESS, so it cannot be seen whether the session of a prepared branch has gone", "GRANT PROCESS ON *.* TO the user")
	case !maria && numberOf(err) == errXARecover:
		return a, unprepared("this user lacks XA_RECOVER_ADMIN, so branches that lost their program cannot be found", "GRANT XA_RECOVER_ADMIN ON *.* TO the user")
	}
	return a, fmt.Errorf("try the search for prepared branches: %w", err)
}

func unprepared(reason, hint string) error {
	return &gtx.UnsupportedError{Code: "prepare", Reason: reason, Hint: hint}
}

// Attached gives the numbers of prepared transactions that InnoDB has not yet taken
// from their sessions. Only MariaDB has such; MySQL is asked nothing.
//
// MariaDB frees the name of a branch before InnoDB frees the transaction, while a
// session is being closed. XA COMMIT by name finds no transaction in between, answers
// with success and drops the name: the branch stays prepared, with its locks, in no
// list, until the server is started again.
func (XA) Attached(ctx context.Context, q undo.Query) ([]string, error) {
	rows, err := q(ctx, innodbStatus)
	switch {
	case numberOf(err) == errEmptyQuery, err == nil && len(rows) == 0: // MySQL
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the status of InnoDB: %w", err)
	case len(rows) != 1 || len(rows[0]) != 3:
		return nil, errors.New("read the status of InnoDB: not one line of three columns")
	}
	return attached(rows[0][2])
}

// attached reads the list of transactions: each begins with a line such as
//
//	---TRANSACTION 23, ACTIVE (PREPARED) 0 sec
//
// that ends with "recovered trx" where there is no session. A user's statement that
// is shown, too, can add such lines and take none away.
func attached(status string) ([]string, error) {
	const list = "LIST OF TRANSACTIONS FOR EACH SESSION:"
	_, status, ok := strings.Cut(status, list)
	if !ok || strings.Contains(status, "truncated...") {
		return nil, errors.New("read the status of InnoDB: the list of transactions is not complete")
	}
	var out []string
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, "---TRANSACTION ")
		if !ok || !strings.Contains(rest, "(PREPARED)") || strings.Contains(rest, "recovered trx") {
			continue
		}
		id, _, _ := strings.Cut(rest, ",")
		out = append(out, id)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// prepareFinding tells whether mode XA would be refused.
func prepareFinding(ctx context.Context, q undo.Query) (undo.Finding, error) {
	f := undo.Finding{Name: "prepare", Level: undo.Info, Value: "works", Reason: "modes XA and 3PC"}
	a, err := XA{}.Check(ctx, q, true)
	var no *gtx.UnsupportedError
	switch {
	case errors.As(err, &no):
		f.Level, f.Value, f.Reason, f.Hint = undo.Warn, "refused", "modes XA and 3PC: "+no.Reason, no.Hint
	case err != nil:
		return f, err
	case a.Tied:
		f.Reason += "; a prepared branch keeps its connection until the decision"
	}
	return f, nil
}
