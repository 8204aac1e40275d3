package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestGuardCommands(t *testing.T) {
	for name, dsn := range messKinds() {
		if name == "sqlite" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := newMess(t, dsn(t))
			m.gtx(exitOK, []string{"guard", "ls", m.dsn}, "^no table has a guard")
			m.gtx(exitError, []string{"guard", "ls", m.dsn, "parcel"}, `parcel +none`, "not all tables")
			m.gtx(exitError, []string{"guard", "install", m.dsn, "parcel", "nothing"}, "look for table nothing")
			m.gtx(exitOK, []string{"guard", "ls", m.dsn}, "^no table has a guard")
			for range 2 {
				m.gtx(exitOK, []string{"guard", "install", m.dsn, "parcel"}, "^parcel is guarded")
			}
			m.gtx(exitOK, []string{"guard", "ls", m.dsn}, `TABLE +GUARD +WHY\n\S*parcel +guarded +-`)
			m.gtx(exitOK, []string{"doctor", m.dsn, "parcel"}, "guard.*guarded")

			// What is stuck is safe now from the next writer, and an operator still ends it.
			_, err := m.db.ExecContext(t.Context(), "UPDATE parcel SET weight = 3 WHERE id = 3")
			if err == nil || !strings.Contains(err.Error(), m.xid.String()) {
				t.Errorf("write to a stuck row: %v", err)
			}
			m.gtx(exitOK, []string{"resolve", m.dsn, m.xid.String(), "--force-before", "--reason", "test", "--assume-aborted", "--yes"})
			m.want(parcels, "[[1 918273 Ada] [2 5 Grace] [3 6 Alan]]")
			m.exec("UPDATE parcel SET weight = 3 WHERE id = 3")

			rekey := "ALTER TABLE parcel DROP PRIMARY KEY, ADD PRIMARY KEY (id, weight)"
			if strings.Contains(m.dsn, "postgres://") {
				rekey = "ALTER TABLE parcel DROP CONSTRAINT parcel_pkey, ADD PRIMARY KEY (id, weight)"
			}
			m.exec(rekey)
			m.gtx(exitError, []string{"guard", "ls", m.dsn, "parcel"}, `parcel +stale +\S+`, "not all tables")
			m.gtx(exitError, []string{"doctor", m.dsn, "parcel"}, "guard-stale", "gtx guard install")
			m.gtx(exitOK, []string{"guard", "install", m.dsn, "parcel"})
			m.gtx(exitOK, []string{"guard", "ls", m.dsn, "parcel"}, `parcel +guarded`)
			m.gtx(exitOK, []string{"guard", "remove", m.dsn, "parcel"}, "^parcel is not guarded any more")
			m.gtx(exitOK, []string{"guard", "remove", m.dsn, "parcel"}, "^parcel had no guard")
		})
	}
}

func TestGuardUsage(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	if code, out, errs := runGTX(t, "migrate", dsn); code != exitOK {
		t.Fatal(out, errs)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":    {nil, exitUsage, "Usage: gtx guard install"},
		"help":       {[]string{"-h"}, exitOK, "Usage: gtx guard install"},
		"no table":   {[]string{"install", dsn}, exitUsage, "Usage: gtx guard install"},
		"no dsn":     {[]string{"ls"}, exitUsage, "Usage: gtx guard install"},
		"unknown":    {[]string{"list", dsn}, exitUsage, "Usage: gtx guard install"},
		"sqlite":     {[]string{"install", dsn, "t"}, exitError, "SQLite"},
		"bad dsn":    {[]string{"ls", "oracle:x"}, exitError, "does not begin with mysql:"},
		"no server":  {[]string{"ls", "mysql:u:hunter2@tcp(127.0.0.1:1)/x"}, exitError, "connect to mysql:"},
		"no server2": {[]string{"ls", "postgres://u:hunter2@127.0.0.1:1/x"}, exitError, "connect to postgres:"},
		"no server3": {[]string{"ls", "pgx:postgres://u:hunter2@127.0.0.1:1/x"}, exitError, "connect to pgx:postgres:"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := runGTX(t, append([]string{"guard"}, tc.args...)...)
			if all := out + errs; code != tc.code || !strings.Contains(all, tc.want) || strings.Contains(all, "hunter2") {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tc.code, tc.want, all)
			}
		})
	}
}
