package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// postgresBatch is how many texts are on their way at once.
const postgresBatch = 500

// Postgres asks a live Postgres by the Parse message, which runs nothing.
type Postgres struct {
	name string
	mode sqltext.Mode
	conn *pgconn.PgConn
}

var _ difftest.Server = (*Postgres)(nil)

// NewPostgres connects to dsn, a URL or keywords and values, with the settings
// that m names. Close the server after use.
func NewPostgres(ctx context.Context, name, dsn string, m sqltext.Mode) (*Postgres, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read the DSN of %s: %w", name, err)
	}
	config.RuntimeParams["client_encoding"] = "UTF8"
	config.RuntimeParams["client_min_messages"] = "error"
	config.RuntimeParams["escape_string_warning"] = "off"
	config.RuntimeParams["standard_conforming_strings"] = "on"
	if m.BackslashStrings {
		config.RuntimeParams["standard_conforming_strings"] = "off"
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return &Postgres{name: name, mode: m, conn: conn}, nil
}

func (s *Postgres) Name() string             { return s.name }
func (s *Postgres) Dialect() sqltext.Dialect { return sqltext.Postgres }
func (s *Postgres) Mode() sqltext.Mode       { return s.mode }

// Valid tells of each text whether the grammar accepts it. A text of several
// statements is not valid here, as the protocol takes one: ask for each alone.
// A text without a statement counts as valid.
func (s *Postgres) Valid(ctx context.Context, texts []string) ([]bool, error) {
	valid := make([]bool, 0, len(texts))
	for batch := range slices.Chunk(texts, postgresBatch) {
		var err error
		if valid, err = s.batch(ctx, valid, batch); err != nil {
			return nil, fmt.Errorf("ask %s: %w", s.name, err)
		}
	}
	return valid, nil
}

// batch appends the answers for some texts to valid.
func (s *Postgres) batch(ctx context.Context, valid []bool, texts []string) ([]bool, error) {
	pipe := s.conn.StartPipeline(ctx)
	for _, text := range texts {
		pipe.SendPrepare("", text, nil)
		pipe.SendPipelineSync() // else an error would skip the texts behind it
	}
	err := pipe.Flush()
	for range texts {
		if err != nil {
			break
		}
		var ok bool
		if ok, err = s.answer(pipe); err == nil {
			valid = append(valid, ok)
		}
	}
	return valid, errors.Join(err, pipe.Close())
}

// answer reads what the server says to one text.
func (*Postgres) answer(pipe *pgconn.Pipeline) (bool, error) {
	valid := true
	for {
		result, err := pipe.GetResults()
		var said *pgconn.PgError
		switch {
		case errors.As(err, &said):
			if said.Severity == "FATAL" || said.Severity == "PANIC" {
				return false, err
			}
			valid = !postgresSyntax(said)
		case err != nil:
			return false, err
		}
		if _, synced := result.(*pgconn.PipelineSync); synced {
			return valid, nil
		}
		if result == nil && err == nil {
			return false, errors.New("the answers end early")
		}
	}
}

// postgresSyntax sorts what the parser says from what is said about names and
// types, which a text of another database may well have wrong. The scanner and
// the grammar give some errors other codes than 42601, as for a bad escape; they
// are told by the file of the server's source that raised them.
func postgresSyntax(e *pgconn.PgError) bool {
	switch e.File {
	case "scan.l", "gram.y", "parser.c", "scansup.c", "mbutils.c":
		return true
	}
	switch e.Code {
	case "42601", "42602", "54001": // syntax error, invalid name, nested too deep
		return true
	}
	return false
}

// Close ends the connection.
func (s *Postgres) Close() error {
	if err := s.conn.Close(context.Background()); err != nil {
		return fmt.Errorf("close %s: %w", s.name, err)
	}
	return nil
}
