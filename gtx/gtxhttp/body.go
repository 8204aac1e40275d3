package gtxhttp

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/globaltx/globaltx/gtx"
)

// answerBody is the body of an answer whose header has brought a report. If the
// caller cannot read it to the end the answer is lost, and the report with it. One
// goroutine may close it while another reads.
type answerBody struct {
	io.ReadCloser
	tx        *gtx.Tx
	confirmed []gtx.BranchRef
	closed    atomic.Bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !b.closed.Load() {
		// A contradiction makes a branch open again, and an open one aborts.
		b.tx.Report(nil, b.confirmed)
	}
	return n, err
}

// Close is the caller's word that the rest of the answer does not matter.
func (b *answerBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}
