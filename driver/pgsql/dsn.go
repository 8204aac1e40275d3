package pgsql

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// paramPrefix begins the parameters that are ours.
const paramPrefix = "gtx_"

// SplitDSN takes the parameters that begin with "gtx_" out of a DSN in either
// form, URL or key=value. The rest keeps its exact spelling, for the base driver.
// Names in params are whole ("gtx_scan"); a name given twice is an error. Errors
// hold no value of the DSN.
func SplitDSN(dsn string) (base string, params map[string]string, err error) {
	params = make(map[string]string)
	take := func(key, value string) error {
		if _, twice := params[key]; twice {
			return fmt.Errorf("parse DSN: parameter %s is given twice", key)
		}
		params[key] = value
		return nil
	}
	if isURL(dsn) {
		base, err = splitURL(dsn, take)
	} else {
		base, err = splitPairs(dsn, take)
	}
	if err != nil {
		return "", nil, err
	}
	return base, params, nil
}

// Unreadable stands for a DSN that Redact does not show.
const Unreadable = "(unreadable DSN)"

// Redact gives a DSN without its secrets, fit for an error or a log. A DSN that
// cannot be read is not shown at all.
func Redact(dsn string) string {
	const mask = "xxxxx"
	if isURL(dsn) {
		u, err := url.Parse(dsn)
		if err != nil {
			return Unreadable
		}
		head, query, fragment := cutURL(dsn)
		authority, path := strings.TrimPrefix(head, u.Scheme+"://"), ""
		if n := strings.IndexByte(authority, '/'); n >= 0 {
			authority, path = authority[:n], authority[n:]
		}
		if fragment != "" || strings.Contains(path+query, "@") {
			return Unreadable // "/", "?" or "#" in a password, not encoded: what was cut is not what it seems
		}
		if at := strings.LastIndexByte(authority, '@'); at >= 0 {
			if user, _, has := strings.Cut(authority[:at], ":"); has {
				authority = user + ":" + mask + authority[at:]
			}
		}
		var pairs []string
		for _, pair := range strings.Split(query, "&") {
			key, _, _ := strings.Cut(pair, "=")
			if name, err := url.QueryUnescape(key); err != nil || secret(name) {
				pair = key + "=" + mask
			}
			pairs = append(pairs, pair)
		}
		out := u.Scheme + "://" + authority + path
		if query != "" {
			out += "?" + strings.Join(pairs, "&")
		}
		return out
	}
	pairs, err := scanPairs(dsn)
	if err != nil {
		return Unreadable
	}
	var out strings.Builder
	last := 0
	for _, p := range pairs {
		if secret(p.key) {
			out.WriteString(dsn[last:p.valueStart] + mask)
			last = p.end
		}
	}
	return out.String() + dsn[last:]
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

func secret(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "password") || strings.Contains(key, "secret") || strings.Contains(key, "token")
}

// cutURL cuts at the query and at the fragment.
func cutURL(dsn string) (head, query, fragment string) {
	head, fragment, _ = strings.Cut(dsn, "#")
	head, query, _ = strings.Cut(head, "?")
	return head, query, fragment
}

func splitURL(dsn string, take func(key, value string) error) (string, error) {
	head, query, fragment := cutURL(dsn)
	if _, err := url.Parse(dsn); err != nil { // whose text would show the password
		return "", errors.New("parse DSN: not a valid URL; special characters in a password must be percent-encoded")
	}
	var rest []string
	for _, pair := range strings.Split(query, "&") {
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		if err != nil || !strings.HasPrefix(key, paramPrefix) {
			if pair != "" {
				rest = append(rest, pair) // the base driver judges it
			}
			continue
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return "", fmt.Errorf("parse DSN: value of %s is not percent-encoded rightly", key)
		}
		if err := take(key, value); err != nil {
			return "", err
		}
	}
	if len(rest) > 0 {
		head += "?" + strings.Join(rest, "&")
	}
	if fragment != "" {
		head += "#" + fragment
	}
	return head, nil
}

func splitPairs(dsn string, take func(key, value string) error) (string, error) {
	pairs, err := scanPairs(dsn)
	if err != nil {
		return "", err
	}
	var rest []string
	for _, p := range pairs {
		if !strings.HasPrefix(p.key, paramPrefix) {
			rest = append(rest, dsn[p.start:p.end])
			continue
		}
		if err := take(p.key, p.value); err != nil {
			return "", err
		}
	}
	return strings.Join(rest, " "), nil
}

// pair is one key = value of a connection string, with its place in it.
type pair struct {
	key, value             string
	start, valueStart, end int
}

// scanPairs reads a connection string as libpq's manual describes it: values may
// stand in single quotes, a backslash takes the next character as it is.
func scanPairs(dsn string) ([]pair, error) {
	var pairs []pair
	blank := func(i int) int {
		for i < len(dsn) {
			r, n := utf8.DecodeRuneInString(dsn[i:])
			if !unicode.IsSpace(r) {
				break
			}
			i += n
		}
		return i
	}
	for i := blank(0); i < len(dsn); i = blank(i) {
		p := pair{start: i}
		for i < len(dsn) && dsn[i] != '=' && blank(i) == i {
			i++
		}
		p.key = dsn[p.start:i]
		if i = blank(i); i == len(dsn) || dsn[i] != '=' {
			return nil, errors.New(`parse DSN: a name without "=" in key=value form`)
		}
		i = blank(i + 1)
		p.valueStart = i
		quotedValue := i < len(dsn) && dsn[i] == '\''
		if quotedValue {
			i++
		}
		var value strings.Builder
		closedQuote := false
		for i < len(dsn) && !closedQuote && (quotedValue || blank(i) == i) {
			switch {
			case dsn[i] == '\\':
				if i++; i == len(dsn) {
					return nil, errors.New("parse DSN: it ends with a backslash")
				}
				value.WriteByte(dsn[i])
			case quotedValue && dsn[i] == '\'':
				closedQuote = true
			default:
				value.WriteByte(dsn[i])
			}
			i++
		}
		if quotedValue && !closedQuote {
			return nil, errors.New("parse DSN: a quoted value does not end")
		}
		p.value, p.end = value.String(), i
		pairs = append(pairs, p)
	}
	return pairs, nil
}
