package integration

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
	"modernc.org/sqlite"

	"github.com/globaltx/globaltx/gtx"
)

// atRow is counted over the rows that the server has read, those of gtx_undo among them.
var atRow = regexp.MustCompile(` at row \d+$`)

// errorFields is what the base driver's error type tells to who gets at it by
// errors.As.
func errorFields(err error) map[string]any {
	if my := new(mysql.MySQLError); errors.As(err, &my) {
		return map[string]any{"type": "mysql", "Number": my.Number, "SQLState": string(my.SQLState[:]), "Message": atRow.ReplaceAllString(my.Message, "")}
	}
	if lite := new(sqlite.Error); errors.As(err, &lite) {
		return map[string]any{"type": "sqlite", "Code": lite.Code(), "Error": lite.Error()}
	}
	fields, v := map[string]any{}, reflect.Value{}
	if p := new(pq.Error); errors.As(err, &p) {
		v = reflect.ValueOf(*p)
		fields["type"], fields["Error()"], fields["ErrorWithDetail()"] = "pq", p.Error(), p.ErrorWithDetail()
	} else if p := new(pgconn.PgError); errors.As(err, &p) {
		v = reflect.ValueOf(*p)
		fields["type"], fields["Error()"] = "pgx", p.Error()
	}
	if v.IsValid() {
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				fields[f.Name] = fmt.Sprint(v.Field(i))
			}
		}
		return fields
	}
	return map[string]any{"type": fmt.Sprintf("%T", err), "text": fmt.Sprint(err)}
}

// TestErrorsOfStatements: what the server says of a statement that fails reaches the
// program with the type and in the words of the base driver, through every entry.
func TestErrorsOfStatements(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		if s.driver == "gtx-sqlite" {
			dsn += "&_pragma=foreign_keys(1)"
		}
		db, bare := open(t, s, dsn), outsider(t, s, dsn)
		for _, text := range []string{
			"CREATE TABLE parent (id bigint PRIMARY KEY)",
			"CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(5), u bigint UNIQUE, parent bigint, CONSTRAINT n_small CHECK (n < 1000), CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES parent (id))",
			"INSERT INTO parent VALUES (1)",
			"INSERT INTO thing VALUES (1, 1, 'a', 10, 1), (2, 2, 'b', 20, NULL)",
		} {
			mustExec(t, db, text)
		}
		p := s.holder
		for _, c := range []struct {
			name, text string
			args       []any
			fine       string // server where it is no error
		}{
			{"primary key", "INSERT INTO thing (id, n) VALUES (2, 1)", nil, ""},
			{"primary key by argument", "INSERT INTO thing (id, n) VALUES (" + p(1) + ", 1)", []any{2}, ""},
			{"unique", "UPDATE thing SET u = 10 WHERE id = 2", nil, ""},
			{"unique by argument", "UPDATE thing SET u = " + p(1) + " WHERE id = " + p(2), []any{10, 2}, ""},
			{"parent missing", "UPDATE thing SET parent = 9 WHERE id = 2", nil, ""},
			{"child there", "DELETE FROM parent WHERE id = " + p(1), []any{1}, ""},
			{"check", "UPDATE thing SET n = n + 1000 WHERE id = 1", nil, ""},
			{"not null", "UPDATE thing SET n = NULL WHERE id = 1", nil, ""},
			{"not null by argument", "INSERT INTO thing (id, n) VALUES (7, " + p(1) + ")", []any{nil}, ""},
			{"too long", "UPDATE thing SET s = 'abcdefgh' WHERE id = 1", nil, "sqlite"},
			{"division", "UPDATE thing SET n = 1 / (n - 1) WHERE id = 1", nil, "sqlite"},
			{"division in a read", "SELECT 1 / (n - 1) FROM thing WHERE id = 1 AND 1 / (n - 1) > 0", nil, "not postgres"},
			{"no column", "UPDATE thing SET missing = 1 WHERE id = 1", nil, ""},
			{"no column in condition", "DELETE FROM thing WHERE missing = 1", nil, ""},
			{"no column in a read", "SELECT missing FROM thing", nil, ""},
			{"no table in a read", "SELECT 1 FROM missing", nil, ""},
			{"syntax of a read", "SELECT n FROM thing WHERE ORDER BY n", nil, ""},
			{"syntax", "UPDATE thing SET n = (1 + ) WHERE id = 1", nil, ""},
			{"syntax at the end of a clause", "UPDATE thing\nSET n = CASE WHEN 1 = 1 THEN 1\nwhere id = " + p(1), []any{1}, ""},
			{"overflow", "UPDATE thing SET n = 9223372036854775807 + n WHERE id = 1", nil, "sqlite"},
		} {
			t.Run(c.name, func(t *testing.T) {
				if c.fine == s.name || c.fine == "not postgres" && s.holder(1) == "?" {
					t.Logf("no error on %s", s.name)
					return
				}
				for _, e := range entries() {
					want := e.exec(context.Background(), bare, c.text, c.args...)
					if want == nil {
						t.Fatalf("%s: the bare driver gives no error", e.name)
					}
					var got error
					err := gtx.Run(t.Context(), func(ctx context.Context) error {
						got = e.exec(ctx, db, c.text, c.args...)
						return errors.Join(got, errUndo)
					}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
					if !errors.Is(err, errUndo) {
						t.Fatal(err)
					}
					for what, told := range map[string]error{"the statement": got, "Run": err} {
						if diff := cmp.Diff(errorFields(want), errorFields(told)); diff != "" {
							t.Errorf("%s: error of %s (-bare +ours):\n%s%v", e.name, what, diff, told)
						}
					}
				}
			})
		}
	})
}
