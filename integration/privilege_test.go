package integration

import (
	"context"
	"net/url"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
)

// TestWithoutCreate works as a user who may change rows and create nothing: refused
// with the DDL and the command to run, and working once the tables are there.
func TestWithoutCreate(t *testing.T) {
	for _, s := range servers()[1:] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			admin := open(t, s, dsn)
			mustExec(t, admin, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
			mustExec(t, admin, "INSERT INTO thing VALUES (1, 1, NULL)")
			limited := limit(t, s, dsn, func(text string) { mustExec(t, admin, text) })
			db := open(t, s, limited)
			update := func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "UPDATE thing SET n = n + 1")
				return err
			}
			err := gtx.Run(t.Context(), update, gtx.WithCoordinator(bus))
			if err == nil || !strings.Contains(err.Error(), "gtx migrate") || !strings.Contains(err.Error(), "gtx_undo") {
				t.Fatalf("got %v, want the DDL and the command", err)
			}
			for _, ddl := range dialects[s.driver].Schema() {
				mustExec(t, admin, ddl)
			}
			if s.family() == "gtx-postgres" {
				mustExec(t, admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO PUBLIC")
			}
			if err := gtx.Run(t.Context(), update, gtx.WithCoordinator(bus)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// limit makes a user without CREATE and gives the DSN with it.
func limit(t *testing.T, s server, dsn string, exec func(string)) string {
	t.Helper()
	if s.driver == "gtx-mysql" {
		cfg, err := mysqldriver.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		user := "lim_" + cfg.DBName[max(0, len(cfg.DBName)-10):]
		exec("CREATE USER " + user + "@'%' IDENTIFIED BY 'limited-pw'")
		t.Cleanup(func() { exec("DROP USER " + user + "@'%'") })
		exec("GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON `" + cfg.DBName + "`.* TO " + user + "@'%'")
		cfg.User, cfg.Passwd = user, "limited-pw"
		return cfg.FormatDSN()
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	user := "lim_" + u.Path[max(1, len(u.Path)-10):]
	exec("CREATE USER " + user + " PASSWORD 'limited-pw'")
	t.Cleanup(func() { exec("DROP OWNED BY " + user); exec("DROP USER " + user) })
	exec("GRANT SELECT, UPDATE ON thing TO " + user)
	exec("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	u.User = url.UserPassword(user, "limited-pw")
	return u.String()
}
