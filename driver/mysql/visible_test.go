package mysql

import (
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestHidden: a user who cannot see everything that could write beside a statement is
// refused, and who can see it is told what it is.
func TestHidden(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE quiet (id INT PRIMARY KEY)")
		d.exec("CREATE TABLE loud (id INT PRIMARY KEY)")
		d.exec("CREATE TRIGGER tr BEFORE INSERT ON loud FOR EACH ROW SET @x = 1")
		d.exec("CREATE TABLE parent (id INT PRIMARY KEY)")
		d.exec("CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)")
		schema := ident(d.one("SELECT DATABASE()"))
		name, open := d.user()
		code := func(table string) string {
			d.Helper()
			_, err := Dialect{}.Table(d.Context(), open(), schema+"."+ident(table))
			var u *gtx.UnsupportedError
			switch {
			case err == nil:
				return ""
			case !errors.As(err, &u):
				d.Fatal(err)
			}
			return u.Code
		}
		for _, step := range []struct {
			grant string
			want  map[string]string
		}{
			{"SELECT, INSERT, UPDATE, DELETE ON " + schema + ".*", map[string]string{"quiet": "trigger-privilege", "loud": "trigger-privilege", "parent": "trigger-privilege"}},
			{"TRIGGER ON " + schema + ".quiet", map[string]string{"quiet": "trigger-privilege"}},
			{"TRIGGER ON " + schema + ".*", map[string]string{"quiet": "", "loud": "trigger", "parent": "cascade", "child": ""}},
		} {
			d.exec("GRANT " + step.grant + " TO " + name)
			for table, want := range step.want {
				if got := code(table); got != want {
					t.Errorf("after GRANT %s: %s is refused with %q, want %q", step.grant, table, got, want)
				}
			}
		}
	})
}
