package run

import (
	"context"
	"fmt"

	driver "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/corpus"
	"github.com/globaltx/globaltx/internal/difftest/grammar"
	"github.com/globaltx/globaltx/internal/difftest/mutate"
	"github.com/globaltx/globaltx/internal/difftest/oracle/mysql"
	"github.com/globaltx/globaltx/internal/difftest/oracle/postgres"
	"github.com/globaltx/globaltx/internal/difftest/oracle/sqlite"
	"github.com/globaltx/globaltx/internal/difftest/server"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// The names of the servers, as Target takes them.
const (
	MySQL      = "mysql"
	MariaDB    = "mariadb"
	Postgres15 = "postgres15"
	Postgres18 = "postgres18"
	SQLite     = "sqlite"
)

// Names are all servers, in the order of a report.
var Names = []string{MySQL, MariaDB, Postgres15, Postgres18, SQLite}

// Modes are the variants of a session that a run can be of, by flag.
var Modes = map[string]sqltext.Mode{
	"":            {},
	"ansi":        {ANSIQuotes: true},
	"nobackslash": {NoBackslashEscapes: true},
	"nonstd":      {BackslashStrings: true},
}

// Has tells whether a server has a mode.
func Has(name, mode string) bool {
	switch name {
	case MySQL, MariaDB:
		return mode != "nonstd"
	case Postgres15, Postgres18:
		return mode == "" || mode == "nonstd"
	}
	return mode == ""
}

// Target gives the oracle and server of a name. The DSN is an administrator's;
// SQLite has none, and its mode is what its build says.
func Target(ctx context.Context, name, dsn string, m sqltext.Mode) (Config, error) {
	c := Config{Name: name, Mode: m}
	switch name {
	case MySQL, MariaDB:
		c.Dialect = sqltext.MySQL
		if name == MariaDB {
			c.Dialect = sqltext.MariaDB
		}
		dsn, err := inDatabase(dsn)
		if err != nil {
			return c, err
		}
		c.Oracle = func() difftest.Oracle { return mysql.New(m) }
		c.Server = func(ctx context.Context) (difftest.Server, error) {
			return server.NewMySQL(ctx, dsn, c.Dialect, m)
		}
	case Postgres15, Postgres18:
		c.Dialect, c.Version = sqltext.Postgres, 15
		if name == Postgres18 {
			c.Version = 18
		}
		c.Oracle = func() difftest.Oracle { return postgres.New(m) }
		c.Server = func(ctx context.Context) (difftest.Server, error) { return server.NewPostgres(ctx, name, dsn, m) }
	case SQLite:
		s, err := server.NewSQLite(ctx)
		if err != nil {
			return c, err
		}
		c.Dialect, c.Mode = sqltext.SQLite, s.Mode()
		if err := s.Close(); err != nil {
			return c, fmt.Errorf("close SQLite: %w", err)
		}
		c.Oracle = func() difftest.Oracle { return sqlite.New(c.Mode) }
		c.Server = func(ctx context.Context) (difftest.Server, error) { return server.NewSQLite(ctx) }
	default:
		return c, fmt.Errorf("no server is called %q", name)
	}
	return c, nil
}

// inDatabase names a database when the DSN does not: MariaDB tells that there is
// none before it tells a syntax error. Nothing is executed, so any will do.
func inDatabase(dsn string) (string, error) {
	cfg, err := driver.ParseDSN(dsn)
	if err != nil {
		return "", fmt.Errorf("read DSN: %w", err)
	}
	if cfg.DBName == "" {
		cfg.DBName = "mysql"
	}
	return cfg.FormatDSN(), nil
}

// Mutants makes a run of mutants of the corpus and of generated statements until
// target ones were compared. The same seed and Workers make the same texts.
func (c Config) Mutants(seed uint64, target int) Config {
	c.Target = target
	c.Texts = func(w int) func() (string, bool) {
		mu := mutate.New(c.Dialect, c.Mode, c.seeds(seed), seed+uint64(w)<<32)
		return func() (string, bool) { return mu.Next(), true }
	}
	return c
}

// Sweep makes a run of every keyword in every template.
func (c Config) Sweep() Config {
	workers := max(c.Workers, 1)
	c.Texts = func(w int) func() (string, bool) {
		var texts []string
		n := 0
		for text := range mutate.Sweep(c.Dialect) {
			if n%workers == w {
				texts = append(texts, text)
			}
			n++
		}
		return each(texts)
	}
	return c
}

// Corpus makes a run of the labelled statements as they are.
func (c Config) Corpus() Config {
	c.Workers = 1
	c.Texts = func(int) func() (string, bool) { return each(corpus.Texts(c.Dialect)) }
	return c
}

// generatedSeeds is how many generated statements stand beside the corpus, to
// bring in what no person thought of.
const generatedSeeds = 400

// seeds are the statements that mutants come from.
func (c Config) seeds(seed uint64) []string {
	texts := corpus.Texts(c.Dialect)
	g := c.generator(seed)
	for range generatedSeeds {
		texts = append(texts, g.Next().Text)
	}
	return texts
}

func (c Config) generator(seed uint64) *grammar.Generator {
	g := grammar.New(c.Dialect, c.Mode, seed)
	if c.Version > 0 {
		g = g.Version(c.Version)
	}
	return g
}

// Generated makes a run of generated statements as they are.
func (c Config) Generated(seed uint64, target int) Config {
	c.Target = target
	c.Texts = func(w int) func() (string, bool) {
		g := c.generator(seed + uint64(w)<<32)
		return func() (string, bool) { return g.Next().Text, true }
	}
	return c
}

func each(texts []string) func() (string, bool) {
	return func() (text string, ok bool) {
		if len(texts) == 0 {
			return "", false
		}
		text, texts = texts[0], texts[1:]
		return text, true
	}
}
