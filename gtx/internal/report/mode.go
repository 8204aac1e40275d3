package report

import (
	"fmt"

	"github.com/globaltx/globaltx/gtx"
)

// modeXA is the one mode that travels beside the XID: AT needs no word, and that a
// transaction is three-phase is in the XID itself.
const modeXA = "xa"

// FormatMode gives the text that tells the peer m, "" where it needs none.
func FormatMode(m gtx.Mode) string {
	if m == gtx.XA {
		return modeXA
	}
	return ""
}

// ParseMode reads the values of a header that FormatMode has filled. None is AT. A mode
// that this program does not know is an error: the peer's branches would not wait as
// the caller wants.
func ParseMode(values []string) (gtx.Mode, error) {
	switch {
	case len(values) == 0:
		return gtx.AT, nil
	case len(values) > 1:
		return gtx.AT, fmt.Errorf("read mode of the global transaction: %d values", len(values))
	case values[0] == modeXA:
		return gtx.XA, nil
	}
	return gtx.AT, fmt.Errorf("read mode of the global transaction: %.40q is not known here, only %q", values[0], modeXA)
}
