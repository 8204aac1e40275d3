package xa

import (
	"context"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var _ Store = sqlStore{}

// errNoDatabase: nobody has asked for the database's identity yet.
var errNoDatabase = errors.New("xa: the identity of the database is not known yet")

// sqlStore is the Store on Config.DB.
type sqlStore struct{ cfg Config }

func (s sqlStore) Database(context.Context) (gtx.ResourceID, error) {
	if id := s.cfg.Database(); id != "" {
		return id, nil
	}
	return "", errNoDatabase
}

func (s sqlStore) List(ctx context.Context) ([]Name, error) {
	id, err := s.Database(ctx)
	if err != nil {
		return nil, err
	}
	names, err := s.cfg.Dialect.List(ctx, undo.QueryDB(s.cfg.DB), id)
	if err != nil {
		return nil, fmt.Errorf("list prepared branches: %w", err)
	}
	return names, nil
}

func (s sqlStore) End(ctx context.Context, n Name, commit bool) error {
	_, err := s.cfg.DB.ExecContext(ctx, s.cfg.Dialect.End(n, commit))
	return err
}

func (s sqlStore) Attached(ctx context.Context) ([]string, error) {
	a, ok := s.cfg.Dialect.(Attacher)
	if !ok {
		return nil, nil
	}
	ids, err := a.Attached(ctx, undo.QueryDB(s.cfg.DB))
	if err != nil {
		return nil, fmt.Errorf("look for sessions of prepared branches: %w", err)
	}
	return ids, nil
}

func (s sqlStore) Again(err error) bool { return s.cfg.Dialect.Again(err) }

func (s sqlStore) Check(ctx context.Context) error {
	_, err := s.cfg.Dialect.Check(ctx, undo.QueryDB(s.cfg.DB), true)
	return err
}

func (s sqlStore) Classify(err error) undo.ErrorClass { return s.cfg.Classify(err) }
