package coltype

// Zones of the tests, which the servers need not know otherwise: Gtx/Fold has
// 2020-10-25 02:30 twice (as Berlin), Gtx/Edge 2020-11-01 01:30 (as New York).
const (
	ZoneFold = "Gtx/Fold"
	ZoneEdge = "Gtx/Edge"
)

// clock stands still, so that ON UPDATE CURRENT_TIMESTAMP gives twins one time.
const clock = "1603589400.5"

func mysql() Server {
	s := sharedMySQL("MySQL", "mysql")
	s.Types = append(s.Types, []Type{
		{Name: "JSON", Values: []string{
			`'{"a": [1, 2.50, null, "null", "é", 1e300]}'`, `'null'`, `'""'`, `'1e3'`, `'18446744073709551615'`, `'-0.0'`,
			"JSON_OBJECT('d', CAST('2020-01-02' AS DATE), 't', CAST('10:11:12.000001' AS TIME(6)), 'n', CAST(1.10 AS DECIMAL(5,2)), 'b', CAST('x' AS BINARY), 's', CAST('2020-10-25 02:30:00' AS DATETIME(6)), 'f', CAST(0.1 AS FLOAT))",
			"CAST(CAST('2020-01-02' AS DATE) AS JSON)",
		}, Key: NoSuch},
		{Name: "VECTOR(3)", Covers: []string{"vector"}, Values: []string{"TO_VECTOR('[1,-0,3.5]')", "TO_VECTOR('[1.2e-38,3.4e38,0]')"}, Key: NoSuch},
		{Settled: true, Name: "VARCHAR(20) CHARACTER SET gb18030", Values: []string{"_gb18030 0x8130813081308131A2E3D6D0", "'中文'"}, Keys: []string{"'中'", "'A'"}},
		{Name: "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", Values: []string{"'ß '", "'SS'"}, Keys: []string{"'a'", "'a '", "'É'", "'ss'"}},
		{Name: "CHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_cs", Values: []string{"'ß '", "'SS'"}, Keys: []string{"'a'", "'A'", "''"}},
		{Name: "INT INVISIBLE", Values: []string{"1", "-1"}, Keys: []string{"1", "2"}},
	}...)
	s.Sessions[2].Sets = append(s.Sessions[2].Sets, "SET SESSION sql_mode = CONCAT(@@sql_mode, ',TIME_TRUNCATE_FRACTIONAL')")
	return s
}

func mariaDB() Server {
	s := sharedMySQL("MariaDB", "mariadb")
	for i := range s.Types {
		if s.Types[i].Name == "POINT" { // the only shape of a fixed size
			s.Types[i].Key, s.Types[i].Upsert = "key-prefix", "unique-key"
		}
	}
	s.Types = append(s.Types, []Type{
		{Name: "JSON", Values: []string{`'{"a": [1, 2.50, null,  "null", "é"]}'`, `'null'`, `'""'`, `'1e3'`}, Key: NoSuch},
		{Name: "UUID", Values: []string{"'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"}, Move: "key-update"},
		{Name: "INET4", Values: []string{"'255.0.0.1'", "'0.0.0.0'"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "INET6", Values: []string{"'::1'", "'::ffff:1.2.3.4'", "'::'"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", Values: []string{"'a '", "'a'"}, Keys: []string{"'a '", "'a'", "'é'"}},
		{Name: "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci", Values: []string{"'ß '", "'SS'"}, Keys: []string{"'a '", "'é'", "'z'"}},
		{Name: "BLOB COMPRESSED", Values: []string{"REPEAT('ab', 3000)", "''"}, Key: NoSuch},
		{Name: "VARCHAR(500) COMPRESSED", Values: []string{"REPEAT('ab', 200)", "''"}, Key: NoSuch},
	}...)
	s.Sessions[2].Sets = append(s.Sessions[2].Sets, "SET SESSION sql_mode = CONCAT(@@sql_mode, ',TIME_ROUND_FRACTIONAL,SIMULTANEOUS_ASSIGNMENT')")
	return s
}

// sharedMySQL is what the two servers have in common.
func sharedMySQL(title, name string) Server {
	return Server{
		Title: title,
		Names: []string{name},
		Types: append(append(mysqlPlain(), mysqlText()...), mysqlOther()...),
		Sessions: []Session{
			{Name: "defaults", Params: map[string]string{"timestamp": clock}},
			{
				Name: "ANSI, strict dates",
				Params: map[string]string{
					"sql_mode":  "'ANSI,STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO'",
					"time_zone": "'" + ZoneFold + "'", "charset": "utf8mb4", "div_precision_increment": "0", "timestamp": clock,
				},
			},
			{
				Name: "any dates",
				Params: map[string]string{
					"sql_mode":  "'STRICT_TRANS_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_UNSIGNED_SUBTRACTION,HIGH_NOT_PRECEDENCE,REAL_AS_FLOAT,PIPES_AS_CONCAT,IGNORE_SPACE'",
					"time_zone": "'" + ZoneEdge + "'", "collation": "utf8mb4_bin", "div_precision_increment": "30", "timestamp": clock,
				},
				Sets: []string{"SET SESSION character_set_results = NULL", "SET SESSION sql_safe_updates = 0, sql_auto_is_null = 1"},
			},
		},
		Refused: []Session{
			{Name: "sql_mode = ''", Sets: []string{"SET sql_mode = ''"}, Code: "non-strict"},
			{Name: "sql_mode = ANSI", Sets: []string{"SET sql_mode = 'ANSI'"}, Code: "non-strict"},
			{Name: "PAD_CHAR_TO_FULL_LENGTH", Sets: []string{"SET sql_mode = 'STRICT_ALL_TABLES,PAD_CHAR_TO_FULL_LENGTH'"}, Code: "sql-mode"},
			{Name: "NAMES latin1", Sets: []string{"SET NAMES latin1"}, Code: "charset"},
			{Name: "NAMES gbk", Sets: []string{"SET NAMES gbk"}, Code: "charset"},
			{Name: "character_set_results = latin1", Sets: []string{"SET character_set_results = latin1"}, Code: "charset"},
			{Name: "character_set_connection = utf16", Sets: []string{"SET character_set_connection = utf16"}, Code: "charset"},
		},
	}
}

// mysqlPlain are the numbers and dates.
func mysqlPlain() []Type {
	floats := []string{"1.1754944e-38", "3.4028234e38", "0.1", "-0e0", "16777217"}
	doubles := []string{"2.2250738585072014e-308", "1.7976931348623157e308", "0.1", "-0e0", "9007199254740993"}
	return []Type{
		{Name: "TINYINT", Values: []string{"-128", "0", "127"}},
		{Settled: true, Name: "BOOL", Values: []string{"TRUE", "FALSE"}, Keys: []string{"1", "0"}},
		{Settled: true, Name: "SMALLINT UNSIGNED", Values: []string{"0", "65535"}},
		{Settled: true, Name: "MEDIUMINT", Values: []string{"-8388608", "8388607"}},
		{Name: "MEDIUMINT UNSIGNED ZEROFILL", Values: []string{"7", "16777215"}},
		{Name: "INT", Values: []string{"-2147483648", "0", "2147483647"}},
		{Settled: true, Name: "BIGINT", Values: []string{"-9223372036854775808", "0", "9223372036854775807"}},
		{Settled: true, Name: "BIGINT UNSIGNED", Values: []string{"18446744073709551615", "0", "9223372036854775808"}},
		{Name: "DECIMAL(65,30)", Values: []string{"12345678901234567890123456789012345.123456789012345678901234567891", "-0.000000000000000000000000000001", "0"}, Move: "key-update"},
		{Name: "DECIMAL(5,2) UNSIGNED", Values: []string{"999.99", "0"}, Move: "key-update"},
		{Name: "FLOAT", Values: floats, Key: "key-type", Upsert: "unique-key"},
		{Name: "FLOAT(7,3)", Values: []string{"1234.567", "-0.001"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "DOUBLE", Values: doubles, Key: "key-type", Upsert: "unique-key"},
		{Name: "DOUBLE(20,5) UNSIGNED", Values: []string{"123456789.12345", "0"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "BIT(1)", Values: []string{"b'1'", "b'0'"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "BIT(9)", Values: []string{"b'111111111'", "b'0'", "65"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "BIT(64)", Values: []string{"0xFFFFFFFFFFFFFFFF", "b'101'"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "DATE", Values: []string{"'9999-12-31'", "'0000-00-00'", "'2020-02-31'", "'2020-00-00'", "'0001-01-01'"}, Keys: []string{"'2020-02-29'", "'9999-12-31'", "'1000-01-01'"}, Move: "key-update"},
		{Name: "DATETIME", Values: []string{"'1000-01-01 00:00:00'", "'0000-00-00 00:00:00'", "'2020-10-25 02:30:00'"}, Keys: []string{"'2020-10-25 02:30:00'", "'9999-12-31 23:59:59'"}, Move: "key-update"},
		{Name: "DATETIME(6)", Values: []string{"'9999-12-31 23:59:59.999999'", "'2020-02-31 01:02:03.000001'"}, Keys: []string{"'9999-12-31 23:59:59.999999'", "'2020-01-01 00:00:00.000001'"}, Move: "key-update"},
		{
			Name: "TIMESTAMP", Key: "key-type", Upsert: "unique-key",
			Values: []string{
				"FROM_UNIXTIME(1)", "FROM_UNIXTIME(2147483647)", "'0000-00-00 00:00:00'", "FROM_UNIXTIME(1603585800)", "FROM_UNIXTIME(1603589400)",
				"FROM_UNIXTIME(1604208600)", "FROM_UNIXTIME(1604212200)", "'2020-10-25 02:30:00'",
			},
		},
		{
			Name: "TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)", Key: "key-type", Upsert: "unique-key",
			Values: []string{"FROM_UNIXTIME(2147483647.999999)", "FROM_UNIXTIME(1.000001)", "FROM_UNIXTIME(1603589400.5)"},
		},
		{Name: "TIME", Values: []string{"'-838:59:59'", "'838:59:59'", "'00:00:00'"}, Move: "key-update"},
		{Name: "TIME(3)", Values: []string{"'00:00:00.001'", "'-00:00:00.5'", "'838:59:59.000'"}, Move: "key-update"},
		{Name: "YEAR", Values: []string{"1901", "2155", "'0000'"}, Keys: []string{"1901", "2155"}, Move: "key-update"},
	}
}

// mysqlText are the strings, in all character sets.
func mysqlText() []Type {
	types := []Type{
		{Name: "CHAR(10)", Values: []string{"'a  '", "'null'", "''"}, Keys: []string{"'a'", "'null'", "''"}},
		{Name: "VARCHAR(20) CHARACTER SET utf8mb4", Values: []string{"'🙂 '''", "'null'", "'  x  '", "''", "CHAR(92, 34, 0 USING utf8mb4)"}, Keys: []string{"'🙂'", "'null'", "''", "'a'"}},
		{Name: "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", Values: []string{"'Abc'", "'abc'"}},
		{Name: "VARCHAR(20) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci", Values: []string{"'é€'", "'abc'"}},
		{Settled: true, Name: "TINYTEXT", Values: []string{"'null'", "''"}, Key: NoSuch},
		{Name: "TEXT", Values: []string{"REPEAT('ab', 30000)", "'null'", "'a  '"}, Key: NoSuch},
		{Settled: true, Name: "MEDIUMTEXT CHARACTER SET latin1", Values: []string{"REPEAT('é', 70000)", "''"}, Key: NoSuch},
		{Name: "LONGTEXT CHARACTER SET utf16", Values: []string{"REPEAT('xyz', 100000)", "'🙂'"}, Key: NoSuch},
		{Settled: true, Name: "VARCHAR(20) CHARACTER SET big5", Values: []string{"_big5 0xA4A4A4E5F9D5", "'中'"}, Keys: []string{"'中'", "'A'"}},
		{Name: "VARCHAR(20) CHARACTER SET cp932", Values: []string{"_cp932 0x8740", "_cp932 0xFA5B", "_cp932 0x81E6", "_cp932 0x815F"}, Keys: []string{"'a'", "'日'"}},
		{Settled: true, Name: "VARCHAR(20) CHARACTER SET sjis", Values: []string{"_sjis 0x815F5C", "'日本'"}, Keys: []string{"'a'", "'日'"}},
		{Settled: true, Name: "VARCHAR(20) CHARACTER SET ujis", Values: []string{"_ujis 0x8FB0A1A1C0", "'日本'"}, Keys: []string{"'a'", "'日'"}},
		{Settled: true, Name: "VARCHAR(20) CHARACTER SET eucjpms", Values: []string{"_eucjpms 0xADA1A1C0", "'日本'"}, Keys: []string{"'a'", "'日'"}},
		{Settled: true, Name: "VARCHAR(20) CHARACTER SET euckr", Values: []string{"'한국'", "''"}, Keys: []string{"'a'", "'한'"}},
		{Settled: true, Name: "VARCHAR(20) CHARACTER SET gb2312", Values: []string{"'中文'", "''"}, Keys: []string{"'a'", "'中'"}},
		{Name: "VARCHAR(20) CHARACTER SET gbk", Values: []string{"'中文'", "_gbk 0x815CA3DC"}, Keys: []string{"'a'", "'中'"}},
	}
	for _, c := range []string{"utf16", "utf16le", "utf32", "ucs2"} {
		types = append(types, Type{Name: "CHAR(20) CHARACTER SET " + c, Values: []string{"'日本'", "''", "'a  '"}, Keys: []string{"'x'", "'日'"}})
	}
	for _, c := range []string{
		"armscii8", "ascii", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "dec8", "geostd8", "greek", "hebrew", "hp8", "keybcs2",
		"koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7", "macce", "macroman", "swe7", "tis620",
	} {
		high := "_" + c + " 0x8081A0A1BFC0DFE0F0FEFF"
		if c == "ascii" {
			high = "_ascii 0x00015C7F"
		}
		types = append(types, Type{Settled: true, Name: "VARCHAR(20) CHARACTER SET " + c, Values: []string{high, "'a '"}, Keys: []string{"'a'", "'B '"}})
	}
	return append(types,
		Type{Name: "VARCHAR(20) CHARACTER SET binary", Values: []string{"0x00FF5C27", "''"}, Keys: []string{"'a'", "'a '"}, Move: "key-update"},
		Type{Name: "BINARY(4)", Values: []string{"0x00", "0x61626364", "'a '"}, Keys: []string{"'a'", "'a '", "''"}, Move: "key-update"},
		Type{Name: "VARBINARY(20)", Values: []string{"0x00FF00", "''", "0x6E756C6C"}, Keys: []string{"'a'", "'a '", "''"}, Move: "key-update"},
		Type{Name: "TINYBLOB", Values: []string{"0x00", "''"}, Key: NoSuch},
		Type{Name: "BLOB", Values: []string{"0x0001FF", "REPEAT(0x00, 1000)", "''"}, Key: NoSuch},
		Type{Name: "MEDIUMBLOB", Values: []string{"REPEAT(0xFF, 70000)", "''"}, Key: NoSuch},
		Type{Name: "LONGBLOB", Values: []string{"0x27225C00", "''"}, Key: NoSuch},
	)
}

// mysqlOther are enumerations and shapes.
func mysqlOther() []Type {
	types := []Type{
		{Name: "ENUM('','a','b')", Values: []string{"''", "'b'", "1", "'none'"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "ENUM('é','日') CHARACTER SET utf16", Values: []string{"'é'", "2"}, Key: "key-type", Upsert: "unique-key"},
		{Name: "SET('x','y','z')", Values: []string{"''", "'x,z'", "7"}, Key: "key-type", Upsert: "unique-key"},
	}
	for _, shape := range [][2]string{
		{"GEOMETRY", "GEOMETRYCOLLECTION(POINT(0 0),LINESTRING(1 1,2 2))"},
		{"POINT", "POINT(1e-300 -0.1)"},
		{"LINESTRING", "LINESTRING(0 0,1.1 1)"},
		{"POLYGON", "POLYGON((0 0,1 0,1 1,0 0))"},
		{"MULTIPOINT", "MULTIPOINT(0 0,1 1)"},
		{"MULTILINESTRING", "MULTILINESTRING((0 0,1 1),(2 2,3 3))"},
		{"MULTIPOLYGON", "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"},
		{"GEOMETRYCOLLECTION", "GEOMETRYCOLLECTION(POINT(0 0))"},
	} {
		value := "ST_GeomFromText('" + shape[1] + "'"
		types = append(types, Type{Settled: true, Name: shape[0], Values: []string{value + ")", value + ", 4326)"}, Key: NoSuch})
	}
	return types
}
