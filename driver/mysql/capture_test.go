package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func TestCaptureAndRestore(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE `order` (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40), n INT, UNIQUE (name))")
		d.exec("INSERT INTO `order` (id, name, n) VALUES (1,'a',1),(2,'b',2),(3,'c',3),(4,'d',4)")
		want := d.checksum("`order`")
		for _, tc := range []struct {
			name, text string
			args       []any
			rows       int64
		}{
			{"update by key", "UPDATE `order` SET n = n + 10 WHERE id = 2", nil, 1},
			{"update with arguments", "UPDATE `order` AS o SET n = ?, name = ? WHERE o.id > ? AND n < ?", []any{9, "x", 1, 3}, 1},
			{"update all", "UPDATE `order` SET n = n * 2", nil, 4},
			{"update nothing", "UPDATE `order` SET n = 5 WHERE id = 99", nil, 0},
			{"update to the same", "UPDATE `order` SET n = 2 WHERE id = 2", nil, 0},
			{"comment at the end", "UPDATE `order` SET n = 7 WHERE id = 1 -- why ? 'not", nil, 1},
			{"comment and argument", "UPDATE `order` SET n = 7 WHERE id = ? -- end", []any{1}, 1},
			{"or in condition", "UPDATE `order` SET n = 0 WHERE id = 1 OR id = 2;", nil, 2},
			{"subquery", "UPDATE `order` SET n = 0 WHERE id IN (SELECT 3)", nil, 1},
			{"fickle value", "UPDATE `order` SET name = UUID() WHERE id = 3", nil, 1},
			{"delete", "DELETE FROM `order` WHERE name >= 'b'", nil, 3},
			{"delete all", "DELETE FROM `order`", nil, 4},
			{"delete with argument", "DELETE FROM `order` WHERE id = ? /* ; */ ;", []any{2}, 1},
			{"insert explicit", "INSERT INTO `order` (id, name) VALUES (100, 'x'), (?, ?)", []any{101, "y"}, 2},
			{"insert generated", "INSERT INTO `order` (name) VALUES (?), ('z'), (NULL)", []any{"w"}, 3},
			{"insert null and default", "INSERT INTO `order` VALUES (NULL,'p',1), (DEFAULT,'q',2), (0,'r',3), (?,'s',4)", []any{0}, 4},
			{"insert with comment", "INSERT INTO `order` (id,name) VALUES (7, ')') /* ; */ ; -- x", nil, 1},
			{"insert with line comment", "INSERT INTO `order` (id,name) VALUES (7, 'q') -- ; x", nil, 1},
		} {
			t.Run(tc.name, func(t *testing.T) {
				d := *d
				d.T = t
				b := d.branch(newXID())
				b.must(tc.rows, tc.text, tc.args...)
				b.commit()
				d.mustAbort(b.xid)
				if got := d.checksum("`order`"); got != want {
					t.Errorf("checksum %s, want %s", got, want)
				}
			})
		}
	})
}

func TestLastInsertID(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, v INT)")
		b := d.branch(newXID(), "SET auto_increment_increment=7", "SET auto_increment_offset=3")
		out := b.must(3, "INSERT INTO a (v) VALUES (1),(2),(3)")
		if out.LastInsertID != 3 {
			t.Errorf("LastInsertID %d, want 3", out.LastInsertID)
		}
		var id int64
		if err := b.c.QueryRowContext(t.Context(), "SELECT LAST_INSERT_ID()").Scan(&id); err != nil || id != 3 {
			t.Errorf("LAST_INSERT_ID() = %d, %v", id, err)
		}
		b.must(2, "UPDATE a SET v = v + LAST_INSERT_ID() WHERE id > LAST_INSERT_ID()")
		b.commit()
		if got := d.one("SELECT GROUP_CONCAT(id, ':', v ORDER BY id) FROM a"); got != "3:1,10:5,17:6" {
			t.Error(got)
		}
		d.mustAbort(b.xid)
		if got := d.one("SELECT COUNT(*) FROM a"); got != "0" {
			t.Error(got, "rows left")
		}
	})
}

func TestZeroAsValue(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
		b := d.branch(newXID(), "SET sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'")
		b.must(1, "INSERT INTO a VALUES (0, 1)")
		b.commit()
		if got := d.one("SELECT id FROM a"); got != "0" {
			t.Error(got)
		}
		d.mustAbort(b.xid)
		if got := d.one("SELECT COUNT(*) FROM a"); got != "0" {
			t.Error(got, "rows left")
		}
	})
}

func TestUsersOwnDuplicate(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, u INT UNIQUE)")
		d.exec("INSERT INTO a VALUES (1,1)")
		for _, text := range []string{"INSERT INTO a VALUES (1,2)", "INSERT INTO a VALUES (2,1)"} {
			_, err := d.branch(newXID()).run(text)
			if my, ok := err.(*base.MySQLError); !ok || my.Number != 1062 { //nolint:errorlint // it must be the error itself
				t.Errorf("%s: %v", text, err)
			}
		}
	})
}

func TestRefused(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
		d.exec("CREATE TABLE c (id VARCHAR(9) DEFAULT 'x' PRIMARY KEY, v INT)")
		d.exec("CREATE TABLE nokey (id INT)")
		d.exec("CREATE TABLE prefix (id VARCHAR(50), PRIMARY KEY (id(5)))")
		d.exec("CREATE TABLE f (id FLOAT PRIMARY KEY)")
		d.exec("CREATE TABLE isam (id INT PRIMARY KEY) ENGINE=MyISAM")
		d.exec("CREATE TABLE trig (id INT PRIMARY KEY)")
		d.exec("CREATE TRIGGER tr BEFORE INSERT ON trig FOR EACH ROW SET NEW.id = NEW.id + 1")
		d.exec("CREATE TABLE parent (id INT PRIMARY KEY)")
		d.exec("CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)")
		d.exec("CREATE VIEW v AS SELECT * FROM a")
		for _, tc := range []struct {
			code, text string
			args       []any
		}{
			{"key-update", "UPDATE a SET v = 1, ID = v WHERE id = 1", nil},
			{"volatile", "UPDATE a SET v = 1 WHERE RAND() < 2", nil},
			{"volatile", "UPDATE a SET v = 1 WHERE SLEEP(0) = 0", nil},
			{"volatile", "DELETE FROM a WHERE v = SLEEP(0)", nil},
			{"volatile", "UPDATE a SET v = stored(1)", nil},
			{"volatile", "DELETE FROM a WHERE v = @@warning_count", nil},
			{"mixed-keys", "INSERT INTO a (id,v) VALUES (1,1),(NULL,2)", nil},
			{"mixed-keys", "INSERT INTO a (id,v) VALUES (?,1),(?,2)", []any{1, nil}},
			{"key-expression", "INSERT INTO a (id,v) VALUES (1+1,1)", nil},
			{"key-expression", "INSERT INTO a (id,v) VALUES (0.4,1)", nil},
			{"key-expression", "INSERT INTO a (id,v) VALUES (?,1)", []any{"0x1"}},
			{"key-default", "INSERT INTO c (v) VALUES (1)", nil},
			{"key-default", "INSERT INTO c VALUES (DEFAULT,1)", nil},
			{"arguments", "UPDATE a SET v = ? WHERE id = ?", []any{1}},
			{"no-key", "UPDATE nokey SET id = 1", nil},
			{"key-prefix", "DELETE FROM prefix", nil},
			{"key-type", "DELETE FROM f", nil},
			{"engine", "DELETE FROM isam", nil},
			{"trigger", "DELETE FROM trig", nil},
			{"cascade", "DELETE FROM parent", nil},
			{"view", "DELETE FROM v", nil},
			{"no-table", "DELETE FROM nothing", nil},
			{"other-schema", "DELETE FROM mysql.user", nil},
			{"alias", "UPDATE a AS gtx_u SET v = 1", nil},
		} {
			_, err := d.branch(newXID()).run(tc.text, tc.args...)
			var u *gtx.UnsupportedError
			if !errors.As(err, &u) || u.Code != tc.code {
				t.Errorf("%s: %v, want code %s", tc.text, err, tc.code)
			}
		}
		d.branch(newXID()).must(0, "DELETE FROM child") // its own key cascades nowhere
	})
}

func TestSessionRefused(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY)")
		for set, code := range map[string]string{
			"SET sql_mode=''":  "non-strict",
			"SET NAMES latin1": "charset",
			"SET sql_mode='STRICT_ALL_TABLES,PAD_CHAR_TO_FULL_LENGTH'": "sql-mode",
		} {
			_, err := d.branch(newXID(), set).run("DELETE FROM a")
			var u *gtx.UnsupportedError
			if !errors.As(err, &u) || u.Code != code {
				t.Errorf("%s: %v, want code %s", set, err, code)
			}
		}
	})
}

func TestHostileTexts(t *testing.T) {
	texts := []string{
		"?", "'", `"`, "`", `\`, `\'`, `''`, "--", "-- x", "#", "/*", "*/", "/*!", ";", "; DROP TABLE a", "\n", "\x1a", "%", "_", "$1", ":a",
		"gtx:1:held:x", "é", "日本", "🙂", `\\'; DELETE FROM a; -- `, "' OR '1'='1", "0", "",
	}
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, k VARCHAR(99) CHARACTER SET utf8mb4 NOT NULL, v VARCHAR(99) CHARACTER SET utf8mb4)")
		d.exec("CREATE TABLE s (k VARCHAR(99) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a (k, v) VALUES ('rest', 'rest')")
		for _, mode := range []string{"STRICT_ALL_TABLES", "STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES", "STRICT_ALL_TABLES,ANSI_QUOTES"} {
			sums := d.checksum("a") + d.checksum("s")
			b := d.branch(newXID(), "SET sql_mode='"+mode+"'")
			for _, text := range texts {
				quoted := strings.ReplaceAll(text, "'", "''")
				if !strings.Contains(mode, "NO_BACKSLASH") {
					quoted = strings.ReplaceAll(quoted, `\`, `\\`)
				}
				b.must(1, "INSERT INTO s (k, v) VALUES (?, 1)", text)
				b.must(1, "DELETE FROM s WHERE k = '"+quoted+"'")
				b.must(1, "INSERT INTO s (k, v) VALUES ('"+quoted+"', 2)")
				b.must(1, "INSERT INTO a (k, v) VALUES ('"+quoted+"', ?)", text)
				b.must(1, "UPDATE a SET v = CONCAT(v, 'x', ?) WHERE k = '"+quoted+"' /* ? ' */ AND v = ?", text, text)
				var got string
				if err := b.c.QueryRowContext(t.Context(), "SELECT v FROM a WHERE k = ?", text).Scan(&got); err != nil || got != text+"x"+text {
					t.Errorf("%q: %q, %v", text, got, err)
				}
				b.must(1, "DELETE FROM a WHERE k = ? AND v <> '"+quoted+"' -- ?", text)
			}
			b.commit()
			d.mustAbort(b.xid)
			if got := d.checksum("a") + d.checksum("s"); got != sums {
				t.Errorf("%s: checksums %s, want %s", mode, got, sums)
			}
		}
	})
}

// Where the user asked for matched rows, he gets them.
func TestClientFoundRows(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a VALUES (1,1),(2,2)")
		want := d.checksum("a")
		d.db = d.two
		xid := newXID()
		for range 2 {
			b := d.branch(xid)
			b.must(2, "UPDATE a SET v = 1")
			b.must(1, "UPDATE a SET v = 1 WHERE id = 1")
			b.must(0, "UPDATE a SET v = 1 WHERE id = 3")
			b.must(1, "DELETE FROM a WHERE id = 2")
			b.must(1, "INSERT INTO a VALUES (2, 5)")
			b.commit()
		}
		d.mustAbort(xid)
		if got := d.checksum("a"); got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}
	})
}

// The whole branch is one packet, also when rows are met again.
func TestOnePacket(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
		s := &counting{}
		b := &proxy.Capture{XID: newXID(), Branch: 7, Header: true, Begin: "START TRANSACTION"}
		conn, err := d.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		err = conn.Raw(func(raw any) error {
			s.Conn = raw.(driver.Conn)
			flavour, mode, err := Dialect{}.Inspect(t.Context(), s.Conn)
			if err != nil {
				return err
			}
			for i, text := range []string{
				"INSERT INTO a (v) VALUES (1),(2)", "UPDATE a SET v = 3", "DELETE FROM a", "INSERT INTO a VALUES (1,1)",
				"UPDATE a SET v = 4 ORDER BY id LIMIT 1", "INSERT IGNORE INTO a VALUES (1,1),(2,2)", "REPLACE a VALUES (1,5),(3,3)",
				"INSERT INTO a VALUES (1,1),(4,4) ON DUPLICATE KEY UPDATE v = 9", "UPDATE a SET id = id + 10",
			} {
				if b.Stmt, err = sqltext.Parse(text, flavour, mode); err != nil {
					return err
				}
				id, err := Dialect{}.Resolve(t.Context(), query(s.Conn), b.Stmt.Target().Name)
				if err != nil {
					return err
				}
				if b.Table, err = (Dialect{}).Table(t.Context(), query(s.Conn), id); err != nil {
					return err
				}
				s.calls, b.Seq = 0, int64(i)
				if _, err := (Dialect{}).Capture(t.Context(), s, b); err != nil {
					return err
				}
				if s.calls != 1 {
					t.Errorf("%s: %d round trips, want 1", text, s.calls)
				}
				b.Begin, b.Header = "", false
			}
			_, err = s.ExecContext(t.Context(), "ROLLBACK", nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// counting counts the packets that Capture sends.
type counting struct {
	driver.Conn
	calls int
}

func (c *counting) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	c.calls++
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, text, args)
}
