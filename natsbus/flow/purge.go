package flow

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	purgeBatch = 500
	// purgeLate is what the clocks of the services may differ by, and what a message may
	// take from the check of its age to COMMIT.
	purgeLate = time.Hour
)

// purge removes what is older than Config.Keep. A running flow is never removed.
func (s *Service) purge(ctx context.Context) error {
	limit := time.Now().Add(-s.cfg.Keep)
	return errors.Join(
		s.purgeWith(ctx, "SELECT id FROM {flow} WHERE sender = ? AND ended > 0 AND ended < ?", limit,
			"DELETE FROM {to} WHERE flow = ?", "DELETE FROM {flow} WHERE id = ?"),
		s.purgeWith(ctx, "SELECT flow FROM {step} WHERE consumer = ? AND at < ?", limit.Add(-purgeLate),
			fmt.Sprintf("DELETE FROM {step} WHERE flow = ? AND consumer = '%s' AND at < %d", s.cfg.Name, limit.Add(-purgeLate).UnixMicro())),
	)
}

// purgeWith deletes by key, so that no other row is locked or waited for.
func (s *Service) purgeWith(ctx context.Context, find string, before time.Time, remove ...string) error {
	for {
		n, err := s.purgeSome(ctx, find, before, remove)
		if err != nil {
			return fmt.Errorf("remove old rows: %w", err)
		}
		if n < purgeBatch {
			return nil
		}
	}
}

func (s *Service) purgeSome(ctx context.Context, find string, before time.Time, remove []string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, tendTime)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, s.text(fmt.Sprintf("%s LIMIT %d", find, purgeBatch)), s.cfg.Name, before.UnixMicro())
	if err != nil {
		return 0, err
	}
	var ids []string
	for rows.Next() {
		var id string
		if err = rows.Scan(&id); err != nil {
			break
		}
		ids = append(ids, id)
	}
	rows.Close()
	if err := errors.Join(err, rows.Err()); err != nil || len(ids) == 0 {
		return 0, err
	}
	tx, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	for _, id := range ids {
		for _, query := range remove {
			if _, err := tx.ExecContext(ctx, s.text(query), id); err != nil {
				return 0, err
			}
		}
	}
	return len(ids), tx.Commit()
}
