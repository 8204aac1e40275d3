package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// mustSee refuses a table for a user from whom the catalogue may hide its triggers, or
// foreign keys of other tables that refer to it with CASCADE. Who has TRIGGER on
// the whole database sees both; on the one table it is not enough, as the foreign
// keys of the others stay hidden. Those of other databases are shown to who has a
// privilege there.
func mustSee(ctx context.Context, q undo.Query, schema, name string) error {
	sees, err := seesAll(ctx, q, schema)
	if err != nil || sees {
		return err
	}
	return unsupported("trigger-privilege", "this user lacks TRIGGER on the database, so triggers of "+name+" and foreign keys that refer to it can be hidden from it, and what they write is not captured",
		"GRANT TRIGGER ON "+ident(schema)+".* TO the user")
}

// seesAll tells whether the user has TRIGGER on the whole database. MariaDB shows the
// grants of roles without being asked.
func seesAll(ctx context.Context, q undo.Query, schema string) (bool, error) {
	roles, err := q(ctx, "SELECT IF(VERSION() LIKE '%MariaDB%', 'NONE', CURRENT_ROLE())")
	if err != nil {
		return false, fmt.Errorf("read current role: %w", err)
	}
	grants := "SHOW GRANTS"
	if len(roles) == 1 && roles[0][0] != "" && roles[0][0] != "NONE" {
		grants += " FOR CURRENT_USER() USING " + roles[0][0]
	}
	rows, err := q(ctx, grants)
	if err != nil {
		return false, fmt.Errorf("read grants: %w", err)
	}
	sees := false
	for _, r := range rows {
		if revoked, ok := strings.CutPrefix(r[0], "REVOKE "); ok { // of what is granted on all databases
			if seesTriggers("GRANT "+strings.Replace(revoked, " FROM ", " TO ", 1), schema) {
				return false, nil
			}
		}
		sees = sees || seesTriggers(r[0], schema)
	}
	return sees, nil
}

// seesTriggers reads one line of SHOW GRANTS. A grant on one table is not enough.
func seesTriggers(grant, schema string) bool {
	list, rest, ok := strings.Cut(grant, " ON ")
	what, ok2 := strings.CutPrefix(list, "GRANT ")
	on, _, ok3 := strings.Cut(rest, " TO ")
	if !ok || !ok2 || !ok3 {
		return false
	}
	privileges := strings.Split(what, ", ")
	if !slices.Contains(privileges, "TRIGGER") && !slices.Contains(privileges, "ALL PRIVILEGES") {
		return false
	}
	pattern, ok := strings.CutSuffix(on, ".*")
	if !ok {
		return false
	}
	pattern = strings.ReplaceAll(strings.Trim(pattern, "`"), "``", "`")
	return pattern == "*" || like(pattern, schema)
}

// like matches the database of a grant: _ and % are wild unless a backslash
// stands in front.
func like(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	switch c := pattern[0]; {
	case c == '%':
		for i := 0; i <= len(name); i++ {
			if like(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	case c == '\\' && len(pattern) > 1:
		return name != "" && name[0] == pattern[1] && like(pattern[2:], name[1:])
	default:
		return name != "" && (c == '_' || c == name[0]) && like(pattern[1:], name[1:])
	}
}
