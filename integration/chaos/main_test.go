package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globaltx/globaltx/internal/testserver"
)

// roleEnv makes the test binary a process of the system under test. Its value
// is a key of roles.
const roleEnv = "GTX_CHAOS_ROLE"

// roles run until the parent closes their standard input.
var roles = map[string]func(ctx context.Context, in *json.Decoder, out *reporter) error{
	"nats":        runNATS,
	"coordinator": runCoordinator,
	"app":         runApp,
}

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		testserver.Main(m)
		return
	}
	if err := roles[role](context.Background(), json.NewDecoder(os.Stdin), &reporter{w: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, role, "ends:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// event is one line of a history.
type event struct {
	At   int64  `json:"at"`          // ns of the machine's monotonic clock, the same in all processes
	Proc string `json:"p,omitempty"` // set by who reads it
	Kind string `json:"k"`
	N    int64  `json:"n,omitempty"`  // kindCall, kindBack: number of the call in its process
	Op   string `json:"op,omitempty"` // kindCall: commit, rollback, outcome, await
	XID  string `json:"x,omitempty"`
	Told string `json:"s,omitempty"`   // kindBack, kindTold: committed, aborted, or something that settles nothing
	ID   string `json:"id,omitempty"`  // kindTry, kindTold: transfer
	Text string `json:"txt,omitempty"` // error, fault
}

// Kinds of events.
const (
	kindReady = "ready" // the process does its work from now on
	kindLeads = "leads" // the coordinator leads
	kindCall  = "call"  // before a request to the coordinator
	kindBack  = "back"  // its answer
	kindTry   = "try"   // the transfer ID is tried as XID, its first local transaction has committed
	kindQuiet = "quiet" // the application begins no more transfers
	kindTold  = "told"  // what the application was told in the end
	kindFault = "fault" // by the nemesis
	kindHeal  = "heal"
	kindEnd   = "end" // the process has ended
)

// monotonic reads the clock that all processes of a machine share.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // not on Linux
	}
	return ts.Nano()
}

// reporter writes events. Each is in the pipe when tell returns: what a process
// did before it was killed is known. Safe for concurrent use.
type reporter struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *reporter) tell(e event) {
	e.At = monotonic()
	line, err := json.Marshal(e)
	if err == nil {
		r.mu.Lock()
		_, err = r.w.Write(append(line, '\n'))
		r.mu.Unlock()
	}
	if err != nil {
		os.Exit(1) // nobody listens any more
	}
}

// readEvents hands the lines of a process to sink until it ends. The last line
// of a killed process may be cut short.
func readEvents(r io.Reader, proc string, sink func(event)) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			e.Proc = proc
			sink(e)
		}
	}
}
