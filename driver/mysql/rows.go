package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// answer is what a packet gave.
type answer struct {
	rows, ids []int64       // of each statement; nil with RETURNING
	returned  *proxy.Buffer // of RETURNING, else nil
	counted   int64         // @gtx_got, with RETURNING; notCounted for NULL
}

// notCounted: other counts prove the capture.
const notCounted = -1

// returns tells whether the user's statement gives rows.
func returns(s *sqltext.Statement) bool { return s.Returning != (sqltext.Span{}) }

// run sends the packet. With RETURNING the server tells no counts; then the packet
// ends by asking for @gtx_got, the number of undo rows that the form has put there.
func (p *packet) run(ctx context.Context, c driver.Conn) (answer, error) {
	if !returns(p.stmt) {
		res, err := p.exec(ctx, c)
		if err != nil {
			return answer{}, err
		}
		return answer{rows: res.AllRowsAffected(), ids: res.AllLastInsertIds()}, nil
	}
	p.next()
	p.add("SELECT @gtx_got")
	text, err := p.sendable()
	if err != nil {
		return answer{}, err
	}
	q, ok := c.(driver.QueryerContext)
	if !ok {
		return answer{}, fmt.Errorf("query through %T: not a driver.QueryerContext", c)
	}
	rows, err := q.QueryContext(ctx, text, p.args)
	if err != nil {
		return answer{}, err
	}
	a, err := readAnswer(rows)
	// Close reads on after an error, and then says nothing new.
	if cerr := rows.Close(); err == nil && cerr != nil {
		err = cerr
	}
	return a, err
}

// readAnswer reads the rows of RETURNING and the count behind them.
func readAnswer(rows driver.Rows) (a answer, err error) {
	if a.returned, err = proxy.ReadRows(rows); err != nil {
		return a, err
	}
	more, ok := rows.(driver.RowsNextResultSet)
	if !ok {
		return a, fmt.Errorf("read results: %T has one result only", rows)
	}
	if err := more.NextResultSet(); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("read results: the count behind RETURNING is missing")
		}
		return a, err
	}
	last, err := proxy.ReadRows(rows)
	if err != nil {
		return a, err
	}
	if len(last.Lines) != 1 || last.Width() != 1 {
		return a, fmt.Errorf("read results: %d rows behind RETURNING", len(last.Lines))
	}
	switch n := last.Lines[0][0].(type) {
	case nil:
		a.counted = notCounted
	case int64:
		a.counted = n
	default:
		return a, fmt.Errorf("read results: the count behind RETURNING is a %T", n)
	}
	return a, nil
}
