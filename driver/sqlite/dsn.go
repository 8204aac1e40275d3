package sqlite

import (
	"fmt"
	"net/url"
	"strings"
)

// busyTimeout is set where the DSN has none: without it every overlap of two
// writers is an error at once.
const busyTimeout = "_busy_timeout=5000"

// SplitDSN takes the parameters that begin with gtx_ out of a DSN and returns the
// rest as the base driver understands it, with a busy timeout of 5 s when there
// is none. Everything else, the journal mode included, is left to the user.
func SplitDSN(dsn string) (base string, params map[string]string, err error) {
	path, query := cut(dsn)
	params = map[string]string{}
	var keep []string
	timeout := false
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, nerr := url.QueryUnescape(rawName)
		value, verr := url.QueryUnescape(rawValue)
		if nerr != nil || verr != nil {
			return "", nil, fmt.Errorf("parse DSN %s: parameter %q is not escaped as in a URL", Redact(dsn), rawName)
		}
		if strings.HasPrefix(strings.ToLower(name), "gtx_") {
			if _, twice := params[name]; twice {
				return "", nil, fmt.Errorf("parse DSN %s: parameter %s stands twice", Redact(dsn), name)
			}
			params[name] = value
			continue
		}
		switch {
		case name == "_busy_timeout", name == "_timeout",
			name == "_pragma" && strings.HasPrefix(strings.ToLower(strings.TrimSpace(value)), "busy_timeout"):
			timeout = true
		}
		keep = append(keep, pair)
	}
	if path == "" {
		return dsn, params, nil // a private temporary database
	}
	if !timeout {
		keep = append(keep, busyTimeout)
	}
	return path + "?" + strings.Join(keep, "&"), params, nil
}

// Redact gives a DSN for messages: parameters may run SQL that holds secrets.
func Redact(dsn string) string {
	path, query := cut(dsn)
	if query == "" {
		return path
	}
	return path + "?..."
}

// cut splits where the base driver does: a question mark in front belongs to the
// name.
func cut(dsn string) (path, query string) {
	if i := strings.IndexByte(dsn, '?'); i >= 1 {
		return dsn[:i], dsn[i+1:]
	}
	return dsn, ""
}
