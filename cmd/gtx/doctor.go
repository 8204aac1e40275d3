package main

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgsql"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

const doctorHelp = `Tells what will not work in a global transaction before a program finds out:
server, session, privileges, limits, and for each table whether its rows are
protected or why not. It changes nothing in the database. Use the DSN and the user
of the program: both decide.

Without TABLE all tables of the database are looked at; views are shown and do not
count. A TABLE is written as the catalogue spells it, schema.table where it is in
another schema, in double quotes where a name holds a dot.

Exit code: 0 when all these tables are protected, 1 when something is not, 2 when
it could not be found out.

Usage: gtx doctor [--json] DSN [TABLE...]

`

// doctorDialect is what the drivers of gtx offer.
type doctorDialect interface {
	proxy.Dialect
	undo.Doctor
}

// errNotHealthy ends gtx doctor with exit code 1, after its report.
var errNotHealthy = errors.New("not protected")

// runDoctor looks at one database. Errors are told here: their exit code is that of
// errUsage.
func runDoctor(ctx context.Context, args []string, std stdio) error {
	flags := flag.NewFlagSet("gtx doctor", flag.ContinueOnError)
	flags.SetOutput(std.err)
	asJSON := flags.Bool("json", false, "write one JSON object, for programs")
	timeout := flags.Duration("timeout", time.Minute, "for everything together")
	flags.Usage = func() {
		fmt.Fprint(std.err, doctorHelp)
		flags.PrintDefaults()
		fmt.Fprint(std.err, "\n", targetHelp)
	}
	words, err := parseAnywhere(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if len(words) == 0 {
		flags.Usage()
		return errUsage
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	report, err := diagnose(ctx, words[0], words[1:])
	if err == nil {
		if *asJSON {
			err = report.writeJSON(std.out)
		} else {
			err = report.writeText(std.out)
		}
	}
	if err != nil {
		fmt.Fprintln(std.err, "gtx doctor:", hideSecret(words[0], err.Error()))
		return errUsage
	}
	if !report.OK {
		return errNotHealthy
	}
	return nil
}

// parseAnywhere allows flags behind the words, up to "--".
func parseAnywhere(flags *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			return append(words, rest...), nil
		}
		if len(rest) == 0 {
			return words, nil
		}
		words, args = append(words, rest[0]), rest[1:]
	}
}

// hideSecret is the last guard: the errors of the drivers do not show passwords.
func hideSecret(dsn, text string) string {
	var secret string
	switch kind, rest, _ := strings.Cut(dsn, ":"); kind {
	case "mysql", "mariadb":
		if cfg, _, err := mysql.SplitDSN(rest); err == nil {
			secret = cfg.Passwd
		}
	case "postgres", "postgresql":
		secret = urlPassword(dsn)
	case "pgx":
		if plain, _, err := pgsql.SplitDSN(rest); err == nil {
			if cfg, err := pgconn.ParseConfig(plain); err == nil {
				secret = cfg.Password
			}
		}
	}
	if len(secret) < 3 { // would be found everywhere
		return text
	}
	return strings.ReplaceAll(text, secret, "***")
}

// openLooking opens a database as programs do, without serving phase two.
func openLooking(text string) (t target, base driver.Base, err error) {
	if t, err = parseTarget(text); err != nil {
		return t, base, err
	}
	if t.driver == "sqlite" {
		t.show, t.base = "sqlite:"+sqlite.Redact(t.dsn), sqlite.OpenExisting
	}
	if base, err = t.base(t.dsn); err != nil {
		return t, base, err
	}
	// Reads the gtx_ parameters and connects to nothing.
	db, err := sql.Open("gtx-"+t.driver, t.dsn)
	if err != nil {
		return t, base, err
	}
	return t, base, db.Close()
}

// diagnose looks at the database that text names, and at all its tables where none
// are given.
func diagnose(ctx context.Context, text string, tables []string) (*doctorReport, error) {
	t, base, err := openLooking(text)
	if err != nil {
		return nil, err
	}
	d, ok := base.Dialect.(doctorDialect)
	if !ok {
		return nil, fmt.Errorf("the dialect %s knows no doctor", base.Dialect.Name())
	}
	r := &doctorReport{Database: t.show, Dialect: d.Name(), Checks: []undo.Finding{}, Tables: []doctorTable{}}
	if base.Refuse != nil {
		err := r.refuse(base.Refuse)
		return r.judge(), err
	}
	names, err := parseNames(tables)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(base.Connector)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", t.show, err)
	}
	defer conn.Close()
	v := &visit{d: d, q: undo.QueryDB(conn), report: r}
	if err := v.server(ctx, conn); err != nil {
		return nil, err
	}
	if v.strange {
		return r.judge(), nil
	}
	if err := v.tables(ctx, names); err != nil {
		return nil, err
	}
	return r.judge(), nil
}

// visit is one look at a database over one connection.
type visit struct {
	d       doctorDialect
	q       undo.Query
	report  *doctorReport
	strange bool // the server is too old for the questions
}

// server looks at everything but the tables. What a session refuses is asked of
// Inspect, as the driver does.
func (v *visit) server(ctx context.Context, conn *sql.Conn) error {
	inspected := conn.Raw(func(c any) error {
		_, _, err := v.d.Inspect(ctx, c.(sqldriver.Conn))
		return err
	})
	if inspected != nil {
		if err := v.report.refuse(inspected); err != nil {
			return fmt.Errorf("inspect session: %w", err)
		}
		if v.strange = v.report.Checks[0].Name == "server-version"; v.strange {
			return nil
		}
	} else {
		v.report.Checks = append(v.report.Checks, undo.Finding{Name: "session", Level: undo.Info, Value: "fit", Reason: "its statements can be captured"})
	}
	found, err := v.d.Diagnose(ctx, v.q)
	if err != nil {
		return fmt.Errorf("look at server: %w", err)
	}
	v.report.Checks = append(v.report.Checks, found...)
	return nil
}

// tables looks at those that are named, or at all.
func (v *visit) tables(ctx context.Context, names []sqltext.Name) error {
	all, err := v.d.Relations(ctx, v.q)
	if err != nil {
		return fmt.Errorf("look for tables: %w", err)
	}
	for _, name := range names {
		if err := v.named(ctx, all, name); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		return nil
	}
	for _, rel := range all {
		t, err := v.table(ctx, rel)
		if err != nil {
			return err
		}
		t.counts = rel.Rows
		v.report.Tables = append(v.report.Tables, t)
	}
	return nil
}

// named looks at one table as a statement would name it.
func (v *visit) named(ctx context.Context, all []undo.Relation, name sqltext.Name) error {
	shown := undo.ShowName(name.Table)
	if name.Schema != "" {
		shown = undo.ShowName(name.Schema, name.Table)
	}
	add := func(t doctorTable) {
		t.counts = true
		v.report.Tables = append(v.report.Tables, t)
	}
	id, err := v.d.Resolve(ctx, v.q, name)
	if err != nil {
		f, known := v.refusal(err)
		if !known && !listed(all, name.Table) {
			f, known = undo.Finding{Name: "no-table", Level: undo.Fail, Reason: "table " + shown + " does not exist"}, true
		}
		if !known {
			return fmt.Errorf("look for table %s: %w", shown, err)
		}
		if f.Name == "no-table" && f.Hint == "" {
			f.Hint = similar(all, name.Table)
		}
		add(newDoctorTable(undo.Relation{Name: shown, Count: undo.Unknown, Width: undo.Unknown, Widest: undo.Unknown}, f))
		return nil
	}
	rel := undo.Relation{ID: id, Name: shown, Count: undo.Unknown, Width: undo.Unknown, Widest: undo.Unknown}
	for _, r := range all {
		if r.ID == id {
			rel = r
		}
	}
	t, err := v.table(ctx, rel)
	if err == nil {
		if len(t.Findings) > 0 && t.Findings[0].Name == "no-table" && t.Findings[0].Hint == "" {
			t.Findings[0].Hint = similar(all, name.Table)
		}
		add(t)
	}
	return err
}

// table asks Dialect.Table, as capture does, and then for what only a doctor asks.
func (v *visit) table(ctx context.Context, rel undo.Relation) (doctorTable, error) {
	t, err := v.d.Table(ctx, v.q, rel.ID)
	if err != nil {
		f, known := v.refusal(err)
		if !known {
			return doctorTable{}, fmt.Errorf("look at table %s: %w", rel.Name, err)
		}
		return newDoctorTable(rel, f), nil
	}
	found, err := v.d.Examine(ctx, v.q, t, rel)
	if err != nil {
		return doctorTable{}, fmt.Errorf("look at table %s: %w", rel.Name, err)
	}
	guard, err := guardFinding(ctx, v.d, v.q, rel.ID)
	if err != nil {
		return doctorTable{}, fmt.Errorf("look at guard of %s: %w", rel.Name, err)
	}
	return newDoctorTable(rel, append(found, guard...)...), nil
}

// refusal tells why a table is not protected, if err says so.
func (v *visit) refusal(err error) (f undo.Finding, known bool) {
	var u *gtx.UnsupportedError
	switch {
	case errors.As(err, &u):
		return undo.Finding{Name: u.Code, Level: undo.Fail, Reason: u.Reason, Hint: u.Hint}, true
	case v.d.Classify(err) == undo.Denied:
		return undo.Finding{Name: "privilege", Level: undo.Fail, Reason: "this user may not look at it", Hint: "GRANT it, on the schema too"}, true
	}
	return f, false
}
