// Package corpus holds statements as applications, object-relational mappers and
// scripts send them, each labelled by a person with what it is. The labels were
// written from the manuals of the servers, not by running the splitter, so that
// they can tell when the splitter is wrong.
//
// A file of testdata is a list of entries, parted by blank lines:
//
//	-- @postgres sqlite | gorm | update orders:o set=state,paid_at from where
//	UPDATE "orders" AS o SET ...
//
// The header names the servers that accept the text, where its shape comes from,
// and the label (see ParseLabel). The lines behind it are the text. A header that
// begins with @each is a template, as the same mapper sends the same statement to
// every server: {name} becomes a quoted name, ? becomes $1, $2, … for Postgres,
// and each style of quoting makes an Example of its own.
package corpus

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

//go:embed testdata/*.txt
var files embed.FS

// Example is one statement with its label. It is shared: do not change it.
type Example struct {
	Dialects []sqltext.Dialect // what accepts the text, without doubles
	Servers  []string          // as the header names them: a dialect, or ServerPostgres18
	Origin   string            // what sends such statements
	Text     string
	Label    Label
	Where    string // file:line of the header
}

// ServerPostgres18 is the server of a text that only newer Postgres accepts.
const ServerPostgres18 = "postgres18"

// dialects has the dialect of each server that a header can name.
var dialects = map[string]sqltext.Dialect{
	"mysql":          sqltext.MySQL,
	"mariadb":        sqltext.MariaDB,
	"postgres":       sqltext.Postgres,
	ServerPostgres18: sqltext.Postgres,
	"sqlite":         sqltext.SQLite,
}

// All gives every example in a fixed order. It panics when a file of this
// package is wrong, which the package's tests rule out.
func All() []Example { return slices.Clone(all()) }

// Texts gives the texts that a server of the dialect accepts: none labelled
// refused.
func Texts(d sqltext.Dialect) []string {
	var texts []string
	for _, e := range all() {
		if e.Label.Kind != Refused && slices.Contains(e.Dialects, d) {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

var all = sync.OnceValue(func() []Example {
	names, err := fs.Glob(files, "testdata/*.txt")
	if err != nil {
		panic(err)
	}
	var examples []Example
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		es, err := read(strings.TrimPrefix(name, "testdata/"), string(b))
		if err != nil {
			panic(err)
		}
		examples = append(examples, es...)
	}
	return examples
})

// read parses one file.
func read(file, content string) ([]Example, error) {
	var examples []Example
	line := 1
	for entry := range strings.SplitSeq(content, "\n\n") {
		where := file + ":" + strconv.Itoa(line+len(entry)-len(strings.TrimLeft(entry, "\n")))
		line += strings.Count(entry, "\n") + 2
		entry = strings.Trim(entry, "\n")
		if entry == "" {
			continue
		}
		es, err := readEntry(entry)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", where, err)
		}
		for i := range es {
			es[i].Where = where
		}
		examples = append(examples, es...)
	}
	return examples, nil
}

func readEntry(entry string) ([]Example, error) {
	header, text, _ := strings.Cut(entry, "\n")
	header, ok := strings.CutPrefix(header, "-- @")
	parts := strings.SplitN(header, " | ", 3)
	if !ok || len(parts) != 3 || text == "" {
		return nil, fmt.Errorf("entry %.40q: want -- @servers | origin | label, and a text", entry)
	}
	servers := strings.Fields(parts[0])
	each := servers[0] == "each"
	if each {
		servers = servers[1:]
	}
	label, err := ParseLabel(parts[2])
	if err != nil {
		return nil, err
	}
	if !each {
		e, err := example(servers, parts[1], text, label)
		return []Example{e}, err
	}
	if label.Params < 0 {
		label.Params = strings.Count(text, "?")
	}
	var examples []Example
	for _, style := range styles {
		of := slices.DeleteFunc(slices.Clone(servers), func(s string) bool { return !slices.Contains(style.servers, s) })
		if len(of) == 0 {
			continue
		}
		rendered := style.render(text)
		if i := slices.IndexFunc(examples, func(e Example) bool { return e.Text == rendered }); i >= 0 {
			of = append(examples[i].Servers, of...)
			examples = slices.Delete(examples, i, i+1)
		}
		e, err := example(of, parts[1], rendered, label)
		if err != nil {
			return nil, err
		}
		examples = append(examples, e)
	}
	return examples, nil
}

func example(servers []string, origin, text string, label Label) (Example, error) {
	e := Example{Servers: servers, Origin: origin, Text: text, Label: label}
	for _, s := range servers {
		d, ok := dialects[s]
		if !ok {
			return e, fmt.Errorf("unknown server %q", s)
		}
		if !slices.Contains(e.Dialects, d) {
			e.Dialects = append(e.Dialects, d)
		}
	}
	if len(servers) == 0 {
		return e, fmt.Errorf("no server for %.40q", text)
	}
	return e, nil
}

// style is how mappers write names and parameters for some servers.
type style struct {
	servers []string
	quote   string
	dollar  bool
}

var styles = []style{
	{servers: []string{"mysql", "mariadb"}, quote: "`"},
	{servers: []string{"postgres", ServerPostgres18}, quote: `"`, dollar: true},
	{servers: []string{"sqlite"}, quote: `"`},
}

var templateName = regexp.MustCompile(`\{([\pL\pN_ ]+)\}`)

func (s style) render(text string) string {
	text = templateName.ReplaceAllString(text, s.quote+"$1"+s.quote)
	if !s.dollar {
		return text
	}
	n := 0
	for strings.Contains(text, "?") {
		n++
		text = strings.Replace(text, "?", "$"+strconv.Itoa(n), 1)
	}
	return text
}
