package main

import (
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/corpus"
	"github.com/globaltx/globaltx/internal/difftest/grammar"
	"github.com/globaltx/globaltx/internal/difftest/inject"
	"github.com/globaltx/globaltx/internal/difftest/mutate"
	"github.com/globaltx/globaltx/internal/difftest/oracle/mysql"
	"github.com/globaltx/globaltx/internal/difftest/oracle/postgres"
	"github.com/globaltx/globaltx/internal/difftest/oracle/sqlite"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// seed makes the texts. It is fixed: the report of a bug is held against one of
// the same texts.
const seed = 3

// counts are how many texts a target gets.
type counts struct{ generated, mutants, sweep int }

// target is a dialect and mode to read texts in.
type target struct {
	name    string
	dialect sqltext.Dialect
	mode    sqltext.Mode
	version int // of Postgres
	oracle  func(sqltext.Mode) difftest.Oracle
}

var targets = []target{
	{name: "mysql", dialect: sqltext.MySQL, oracle: newMySQL},
	{
		name: "mysql-ansi", dialect: sqltext.MySQL, oracle: newMySQL,
		mode: sqltext.Mode{ANSIQuotes: true, NoBackslashEscapes: true},
	},
	{name: "mariadb", dialect: sqltext.MariaDB, oracle: newMySQL},
	{name: "postgres", dialect: sqltext.Postgres, version: 18, oracle: newPostgres},
	{
		name: "postgres-backslash", dialect: sqltext.Postgres, version: 15, oracle: newPostgres,
		mode: sqltext.Mode{BackslashStrings: true},
	},
	{name: "sqlite", dialect: sqltext.SQLite, oracle: newSQLite},
	{name: "sqlite-limit", dialect: sqltext.SQLite, oracle: newSQLite, mode: sqltext.Mode{UpdateDeleteLimit: true}},
}

func newMySQL(m sqltext.Mode) difftest.Oracle    { return mysql.New(m) }
func newPostgres(m sqltext.Mode) difftest.Oracle { return postgres.New(m) }
func newSQLite(m sqltext.Mode) difftest.Oracle   { return sqlite.New(m) }

// judge puts the texts of a target into the report.
func (t target) judge(r *inject.Report, n counts) {
	g := grammar.New(t.dialect, t.mode, seed)
	if t.version > 0 {
		g = g.Version(t.version)
	}
	texts := corpus.Texts(t.dialect)
	for range n.generated {
		s := g.Next()
		t.generated(r, s)
		texts = append(texts, s.Text)
	}
	oracle := t.oracle(t.mode)
	for _, text := range texts {
		t.compare(r, oracle, text)
	}
	mutator := mutate.New(t.dialect, t.mode, texts, seed)
	for range n.mutants {
		t.compare(r, oracle, mutator.Next())
	}
	i := 0
	for text := range mutate.Sweep(t.dialect) {
		if i%n.sweep == 0 {
			t.compare(r, oracle, text)
		}
		i++
	}
}

// generated holds a statement against what its generator knows of it.
func (t target) generated(r *inject.Report, s grammar.Statement) {
	r.Texts++
	st, refusal, err := parse(s.Text, t.dialect, t.mode)
	switch {
	case err != nil:
		r.AddWrong(inject.Grammar, t.name, s.Text, err.Error())
	case refusal != nil:
		r.AddRefused(inject.Grammar, t.name, refusal.Code)
	default:
		if detail := s.Check(st); detail != "" {
			r.AddWrong(inject.Grammar, t.name, s.Text, detail)
		}
		if !s.Split(st) { // who must know its rows refuses it
			r.AddRefused(inject.Grammar, t.name, "select-not-split")
		}
	}
}

// compare holds a text against the tree of the reference parser.
func (t target) compare(r *inject.Report, oracle difftest.Oracle, text string) {
	r.Texts++
	st, refusal, err := parse(text, t.dialect, t.mode)
	switch {
	case err != nil:
		r.AddWrong(inject.Oracle, t.name, text, err.Error())
	case refusal != nil:
		r.AddRefused(inject.Oracle, t.name, refusal.Code)
	default:
		if v, detail := oracle.Compare(st); v == difftest.Misread {
			r.AddWrong(inject.Oracle, t.name, text, detail)
		}
	}
}

// parse is sqltext.Parse; a panic is an error.
func parse(text string, d sqltext.Dialect, m sqltext.Mode) (st *sqltext.Statement, refusal *sqltext.Refusal, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parse panics: %v", p)
		}
	}()
	st, err = sqltext.Parse(text, d, m)
	if errors.As(err, &refusal) {
		return nil, refusal, nil
	}
	return st, nil, err
}
