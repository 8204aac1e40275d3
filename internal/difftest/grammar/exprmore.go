package grammar

var mysqlFamily = rules{
	"type": {"SIGNED", "UNSIGNED", "CHAR", "CHAR ( 10 )", "DECIMAL ( 10 , 2 )", "BINARY", "DATE", "DATETIME", "CHAR CHARACTER SET utf8mb4"},
	"unit": {"DAY", "HOUR", "MINUTE_SECOND", "YEAR_MONTH", "MICROSECOND", "QUARTER"},
	"prim": {
		"now( )", "uuid( )", "rand( )", "@x", "@@sql_mode", "DATE '2024-01-01'", "TIMESTAMP '2024-01-01 00:00:00'", "last_insert_id( )", "!utc_timestamp", "!localtime",
		"CONVERT( {expr} , {type} )", "CONVERT( {expr} USING utf8mb4 )", "group_concat( DISTINCT {expr} ORDER BY {expr} DESC SEPARATOR ', ' )", "EXTRACT( YEAR FROM {expr} )",
		"SUBSTRING( {expr} FROM {num} FOR {num} )", "TRIM( BOTH {str} FROM {expr} )", "TRIM( {expr} )", "POSITION( {prim} IN {prim} )", "MATCH ( {col} , {col} ) AGAINST ( 'x' IN BOOLEAN MODE )",
		"MATCH ( {col} ) AGAINST ( {str} WITH QUERY EXPANSION )", "if( {expr} , {expr} , {expr} )", "ifnull( {expr} , {expr} )", "concat( {expr} , {str} )", "replace( {expr} , 'a' , 'b' )",
		"insert( {expr} , 1 , 2 , 'x' )", "left( {expr} , 2 )", "right( {expr} , 2 )", "json_extract( {expr} , '$.a' )", "date_add( {expr} , INTERVAL {val} {unit} )", "INTERVAL( {expr} , 1 , 2 )",
		"char( 65 USING utf8mb4 )", "DEFAULT( {col} )", "BINARY {prim}", "mod( {expr} , 2 )", "truncate( {val} , 1 )", "date( {expr} )", "user( )", "TIMESTAMPDIFF( DAY , {expr} , {expr} )",
		"get_format( DATE , 'USA' )", "weight_string( {str} AS CHAR ( 3 ) )",
	},
	"val": {
		"{prim} DIV {prim}", "{prim} MOD {prim}", "{prim} | {prim}", "{prim} & {prim}", "{prim} << {prim}", "{prim} ^ {prim}", "~ {prim}", "{prim} COLLATE utf8mb4_bin",
		"{prim} - - {prim}", "{prim} + INTERVAL {prim} {unit}", "INTERVAL {num} {unit} + {prim}", `1 -- \ 1`,
	},
	"pred": {
		"{prim} <=> {prim}", "{prim} REGEXP {prim}", "{prim} NOT RLIKE {str}", "{prim} SOUNDS LIKE {prim}", "{prim} IS TRUE", "{prim} IS NOT UNKNOWN", "{prim} IN ( {param} )",
		"ROW( {expr} , {expr} ) = ROW( {expr} , {expr} )", "{prim} = ANY ( {query1} )", "{prim} <> ALL ( {scalar} )",
	},
	"bool": {"{pred} && {pred}", "{pred} XOR {pred}", "! ( {pred} )", "{pred} OR ! ( {bool} )"},
	"item": {"{prim} AS 'from'", "{expr} AS {name}", "{prim} x"},
	"refs": {
		"{table} FORCE INDEX ( {name} , PRIMARY )", "{table} AS {name} USE INDEX FOR JOIN ( )", "{table} PARTITION ( p0 , p1 )", "{tab} STRAIGHT_JOIN {tab}", "{tab} STRAIGHT_JOIN {tab} ON {pred}",
		"JSON_TABLE( '[1]' , '$[*]' COLUMNS ( x INT PATH '$' , NESTED PATH '$.y' COLUMNS ( y INT PATH '$' ) ) ) AS {name}", "( {tab} , {tab} )",
		"{tab} LEFT JOIN ( {tab} , {tab} ) ON {bool}",
	},
}

var mysqlOnly = rules{
	"prim": {"{qcol} -> '$.a'", "{qcol} ->> '$.b'", "json_value( {prim} , '$.a' RETURNING SIGNED )"},
	"pred": {"{prim} MEMBER OF ( {prim} )"},
	"refs": {"{tab} , LATERAL ( {query} ) AS {name}", "( {query} ) AS {name} ( x )"},
}

var mariaOnly = rules{
	"prim": {"json_value( {expr} , '$.a' )", "nextval( s1 )", "median( {val} ) OVER ( PARTITION BY {prim} )"},
	"refs": {"{table} FOR SYSTEM_TIME ALL AS {name}"},
}

var sqlite = rules{
	"type": {"TEXT", "INTEGER", "varchar ( 10 )", "NUMERIC ( 10 , 2 )", "BLOB", "double precision"},
	"prim": {
		"random( )", "date( 'now' )", "!current_time", "last_insert_rowid( )",
		"count( * ) FILTER ( WHERE {bool} )", "group_concat( DISTINCT {expr} )", "group_concat( {expr} , ',' ORDER BY {expr} )", "iif( {expr} , {expr} , {expr} )", "json_extract( {expr} , '$.a' )",
		"replace( {expr} , 'a' , 'b' )", "glob( {str} , {expr} )", "like( {str} , {expr} )", "likely( {expr} )", "substr( {expr} , 1 , 2 )", "EXISTS ( {query} )", "printf( '%d' , {expr} )", "ifnull( {expr} , {expr} )",
	},
	"window": {
		"sum( {val} ) FILTER ( WHERE {bool} ) OVER w", "first_value( {expr} ) OVER ( w ROWS 1 PRECEDING EXCLUDE TIES )",
	},
	"val": {
		"{prim} || {prim}", "{prim} -> {str}", "{prim} ->> {str}", "{prim} << {prim}", "{prim} | {prim}", "{prim} & {prim}", "~ {prim}", "{prim} COLLATE NOCASE",
	},
	"pred": {
		"{prim} == {prim}", "{prim} GLOB {str}", "{prim} NOT REGEXP {prim}", "{prim} MATCH {str}", "{prim} ISNULL", "{prim} NOTNULL", "{prim} NOT NULL", "{prim} IS {prim}", "{prim} IS NOT {prim}",
		"{prim} IS DISTINCT FROM {prim}", "{prim} IS NOT DISTINCT FROM {prim}", "{prim} IN {table}", "{prim} IN ( )", "{prim} NOT IN {table}",
	},
	"item": {"{prim} x", "{prim} AS 'from'", "{expr} AS {name}"},
	"dirs": {"NULLS FIRST", "DESC NULLS LAST", "COLLATE NOCASE"},
	"refs": {
		"{table} INDEXED BY {name}", "{table} AS {name} NOT INDEXED", "json_each( {expr} ) AS {name}", "{tab} FULL OUTER JOIN {tab} USING ( {col} , {col} )", "( {tab} , {tab} )", "{tab} NATURAL LEFT OUTER JOIN {tab}",
		"generate_series( 1 , {num} )",
	},
}
