package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// parseNames reads tables as words of a command line.
func parseNames(words []string) ([]sqltext.Name, error) {
	names := make([]sqltext.Name, len(words))
	for i, w := range words {
		parts, err := splitName(w)
		if err != nil {
			return nil, err
		}
		names[i] = sqltext.Name{Table: parts[len(parts)-1]}
		if len(parts) == 2 {
			names[i].Schema = parts[0]
		}
	}
	return names, nil
}

// splitName reads [schema.]table, each part bare or in double quotes or backticks,
// a quote inside written twice.
func splitName(word string) ([]string, error) {
	bad := fmt.Errorf("read table name %q: want [schema.]table", word)
	var parts []string
	for rest := word; ; {
		var part string
		if rest != "" && (rest[0] == '"' || rest[0] == '`') {
			quote := rest[:1]
			rest = rest[1:]
			for {
				head, tail, ok := strings.Cut(rest, quote)
				if !ok {
					return nil, bad
				}
				part += head
				if rest = tail; !strings.HasPrefix(rest, quote) {
					break
				}
				part += quote
				rest = rest[1:]
			}
			if rest != "" && rest[0] != '.' {
				return nil, bad
			}
		} else {
			n := strings.IndexByte(rest, '.')
			if n < 0 {
				n = len(rest)
			}
			part, rest = rest[:n], rest[n:]
		}
		if part == "" || len(parts) == 2 {
			return nil, bad
		}
		parts = append(parts, part)
		if rest == "" {
			return parts, nil
		}
		rest = rest[1:]
	}
}

// listed tells whether a relation has this name, in whatever schema and case.
func listed(all []undo.Relation, table string) bool { return similar(all, table) != "" }

// similar is a hint for a name that is not there.
func similar(all []undo.Relation, table string) string {
	for _, r := range all {
		parts, err := splitName(r.Name)
		if r.Name == table || err == nil && strings.EqualFold(parts[len(parts)-1], table) {
			return "there is " + r.Name
		}
	}
	return ""
}

// urlPassword is the password of a URL, "" where there is none.
func urlPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	secret, _ := u.User.Password()
	return secret
}
