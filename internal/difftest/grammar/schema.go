package grammar

import "github.com/globaltx/globaltx/proxy/sqltext"

// Schema gives the tables that the plain names of the texts mean.
func Schema(d sqltext.Dialect) []string {
	columns := "(id int primary key, a int, b int, c varchar(40), d varchar(40), n int, price decimal(10,2), user_id int, updated_at timestamp, qty int)"
	var all []string
	for _, t := range plainTables {
		all = append(all, "create table "+t+" "+columns)
	}
	if d == sqltext.Postgres || d == sqltext.MariaDB {
		all = append(all, "create sequence s1")
	}
	return all
}
