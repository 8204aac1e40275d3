package pgx

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/globaltx/globaltx/internal/testserver"
)

// TestOpenHidesPasswords: whatever is wrong with a DSN, its password is not told.
func TestOpenHidesPasswords(t *testing.T) {
	for _, dsn := range []string{
		"postgres://app:s3cret@h/db?sslmode=never",
		"postgres://app:s3cret@h:port/db",
		"postgres://app:s3cr%et@h/db",
		"postgres://app@u:s3cret@h/db?sslmode=x",
		"postgres://app:s3/s3cret@h/db?sslmode=x",
		"postgres://h/db?password=s3cret&sslmode=x",
		"host=h password=s3cret sslmode=x",
		"host=h password='a s3cret' port=x",
		"host=h password=a s3cret",
		"postgres://app:s3cret@h/db?gtx_scan_intervall=1s",
		"postgres://app:s3cret@h/db?default_query_exec_mode=fast",
	} {
		db, err := sql.Open("gtx-pgx", dsn)
		if err == nil {
			db.Close()
			t.Errorf("%s was opened", dsn)
			continue
		}
		if text := err.Error(); strings.Contains(text, "s3cret") || strings.Contains(text, "s3cr%et") {
			t.Errorf("%s: the error shows the password: %s", dsn, text)
		}
	}
}

// TestDSNForms: every form that pgx takes, with parameters of ours and of pgx.
func TestDSNForms(t *testing.T) {
	url := testserver.Postgres18(t)
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	name := stdlib.RegisterConnConfig(cfg)
	defer stdlib.UnregisterConnConfig(name)
	pairs := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, dsn := range []string{
		url, url + "&gtx_lock_wait=1s&default_query_exec_mode=exec&application_name=a%20b",
		"host=127.0.0.1 sslmode=disable gtx_lock_wait=1s port=" + port(cfg) + " user='" + pairs.Replace(cfg.User) + "' password='" + pairs.Replace(cfg.Password) + "' dbname=" + cfg.Database,
		name,
	} {
		db := open(t, "gtx-pgx", dsn)
		var database string
		if err := db.QueryRow("SELECT current_database()").Scan(&database); err != nil || database != cfg.Database {
			t.Errorf("got %q, %v", database, err)
		}
	}
}
