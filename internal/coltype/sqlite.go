package coltype

// sqliteValues reach every storage class, whatever the affinity makes of them.
var sqliteValues = []string{
	"9223372036854775807", "-9223372036854775808", "0", "1.5", "1e308", "-0.0", "9e999", "-9e999", "5e-324", "0.1", "9007199254740993.0", "'12'", "'1e3'", "'0x10'",
	"''", "'null'", "'a' || char(0) || 'b'", "CAST(x'ff00fe' AS TEXT)", "'ä😀''\"'", "x''", "x'00ff'", "'2020-02-30 25:00'",
}

var sqliteKeys = []string{"1", "-9223372036854775808", "1.5", "'1'", "'a'", "'A '", "x'61'", "x''", "1e300"}

func sqlite() Server {
	var types []Type
	for _, t := range []Type{ // one name of each affinity, and those that drivers know
		{Name: ""},
		{Name: "INT", Covers: []string{"BIGINT"}},
		{Name: "TEXT", Covers: []string{"VARCHAR(9)"}},
		{Name: "BLOB"},
		{Name: "REAL", Covers: []string{"DOUBLE PRECISION"}},
		{Name: "NUMERIC", Covers: []string{"DECIMAL(9,2)", "JSON", "TIME"}},
		{Name: "BOOLEAN"},
		{Name: "DATETIME", Covers: []string{"DATE", "TIMESTAMP"}},
	} {
		t.Values, t.Keys, t.Settled = sqliteValues, sqliteKeys, true
		types = append(types, t)
	}
	types = append(types,
		Type{Name: "INTEGER", Values: sqliteValues, Keys: []string{"1", "-9223372036854775808", "9223372036854775806", "0"}},
		Type{Name: "TEXT COLLATE NOCASE", Values: sqliteValues, Keys: []string{"'a'", "'B '", "'Ä'", "1", "x'61'"}},
		Type{Name: "TEXT COLLATE RTRIM", Values: sqliteValues, Keys: []string{"'a '", "' b'", "'A'"}},
		Type{Name: "INTEGER", Options: "STRICT", Values: sqliteValues[:3], Keys: []string{"1", "-9223372036854775808"}},
		Type{Name: "INT", Options: "STRICT", Values: sqliteValues[:3], Keys: []string{"1", "-9223372036854775808"}},
		Type{Name: "REAL", Options: "STRICT", Values: sqliteValues[:11], Keys: []string{"0.1", "1", "-9e999"}},
		Type{Name: "TEXT", Options: "STRICT", Values: sqliteValues[11:19], Keys: []string{"'a'", "'A'", "''"}},
		Type{Name: "BLOB", Options: "STRICT", Values: sqliteValues[19:21], Keys: []string{"x''", "x'00ff'"}},
		Type{Name: "ANY", Options: "STRICT", Values: sqliteValues, Keys: sqliteKeys},
		Type{Name: "INTEGER", Options: "WITHOUT ROWID", Values: sqliteValues, Keys: []string{"1", "2.5", "'x'", "x'00'"}},
		Type{Name: "TEXT", Options: "WITHOUT ROWID", Values: sqliteValues, Keys: sqliteKeys},
		Type{Name: "REAL", Options: "WITHOUT ROWID", Values: sqliteValues, Keys: []string{"1", "0.1", "'x'", "1e300"}},
		Type{Name: "ANY", Options: "STRICT, WITHOUT ROWID", Values: sqliteValues, Keys: sqliteKeys},
	)
	return Server{
		Title: "SQLite",
		Names: []string{"sqlite"},
		Types: types,
		Sessions: []Session{
			{Name: "defaults"},
			{Name: "other order", Sets: []string{"PRAGMA reverse_unordered_selects = on", "PRAGMA case_sensitive_like = on", "PRAGMA automatic_index = off", "PRAGMA recursive_triggers = on"}},
		},
	}
}
