package grammar

// Expressions, by level: prim may stand next to any operator, val next to a
// comparison, pred next to AND, bool and expr only where a bracket, a comma or a
// clause ends them. What holds no deeper level comes first.
var common = rules{
	"expr": {
		"{prim}", "{val}", "{num}", "{param}", "{pred}", "( {bool} )", "{bool}", "{val}",
	},
	"prim": {
		"{num}", "{str}", "{qcol}", "{qcol}", "{qcol}", "{param}", "{param}", "NULL", "TRUE", "!current_timestamp", "!current_date",
		"{rare}", "( {expr} )", "( {scalar} )", "CASE WHEN {bool} THEN {expr} ELSE {expr} END", "CASE {prim} WHEN {val} THEN {expr} WHEN {num} THEN {expr} END",
		"coalesce( {expr} , {expr} )", "nullif( {expr} , {expr} )", "lower( {expr} )", "abs( {val} )", "round( {val} , 2 )",
		"count( * )", "count( DISTINCT {expr} )", "sum( {val} )", "max( {expr} )", "CAST( {expr} AS {type} )", "{window}",
		"EXISTS ( {query} )", "( ( {expr} ) )",
	},
	"window": {
		"row_number( ) OVER ( ORDER BY {expr} )",
		"sum( {val} ) OVER ( PARTITION BY {prim} ORDER BY {expr} DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW )",
		"rank( ) OVER ( )", "lag( {expr} , 1 ) OVER ( ORDER BY {qcol} )",
	},
	"val": {
		"{prim}", "{prim} + {prim}", "{prim} - {prim}", "{prim} * {prim}", "{prim} / {prim}", "{prim} % {prim}", "- {prim}", "+ {prim}",
		"{prim} + {val}", "( {val} ) * {prim}", "{prim} - ( {val} )",
	},
	"pred": {
		"{qcol} = {param}", "{prim} = {prim}", "{prim} <> {prim}", "{prim} < {val}", "{val} >= {prim}", "{prim} != {prim}", "{prim} <= {prim}",
		"{prim} IS NULL", "{val} IS NOT NULL", "{prim} IN ( {num} , {param} )", "{prim} BETWEEN {prim} AND {prim}", "{prim} LIKE {str}",
		"{prim} NOT LIKE {prim} ESCAPE '!'", "{prim} NOT BETWEEN {prim} AND {prim}", "{qcol} > {num}",
		"{prim} IN ( {expr} , {expr} )", "{val} NOT IN ( {query1} )", "EXISTS ( {query} )", "NOT EXISTS ( {query} )",
		"( {expr} , {expr} ) = ( {expr} , {expr} )", "( {expr} , {expr} ) IN ( {query2} )", "{prim} = ( {scalar} )", "( {bool} )",
	},
	"bool": {
		"{pred}", "{pred} AND {pred}", "{pred} OR {pred}", "NOT {pred}",
		"{bool} AND {bool}", "{bool} OR ( {bool} )", "( {bool} ) AND NOT ( {bool} )", "{pred}",
	},
	"query1": {"{scalar}"},
	"item":   {"{qcol}", "{expr}", "{expr} AS {name}", "{prim} AS {name}", "{expr}"},
	"dirs":   {"", "", "ASC", "DESC"},
	"order":  {"{qcol} {dirs}", "{prim} {dirs}", "{expr} {dirs} , {prim} {dirs}", "{qcol} {dirs} , {qcol}"},
	"count":  {"{num}", "{param}", "{num}", "1"},
	"refs": {
		"{tab}", "{tab}", "{tab} , {tab}", "{tab} JOIN {tab} ON {pred}", "{tab} LEFT JOIN {tab} ON {pred} JOIN {tab} ON {pred}", "{tab} CROSS JOIN {tab}",
		"{tab} INNER JOIN {tab} USING ( {col} )", "{tab} NATURAL JOIN {tab}", "( {query} ) AS {name}", "{tab} JOIN ( {query} ) AS {name} ON {bool}",
		"( {tab} JOIN {tab} ON {bool} )", "{tab} RIGHT JOIN {tab} ON {bool}", "{tab} LEFT OUTER JOIN ( {tab} CROSS JOIN {tab} ) ON {bool}",
	},
}

var postgres = rules{
	"type": {
		"int", "text", "varchar", "numeric ( 10 , 2 )", "timestamp with time zone", "jsonb", "int [ ]", "double precision", "char ( 3 )", "bit varying",
		"pg_catalog . int4", `"char"`, "interval day to second ( 3 )", "integer [ 3 ]",
	},
	"prim": {
		"{qcol} :: {type}", "{qcol} [ {num} ]", "{qcol} [ 1 : 2 ]", "INTERVAL '1 day'", "INTERVAL '1' DAY", "DATE '2024-01-01'", "TIMESTAMP WITH TIME ZONE '2024-01-01 00:00:00'",
		"now( )", "nextval( 's1' )", "random( )", "!localtimestamp", "{qcol} :: {type} :: text", "{num} :: int",
		"{prim} :: {type}", "ARRAY [ {expr} , {expr} ]", "ARRAY [ ]", "ARRAY ( {scalar} )", "ROW( {expr} , {expr} )", "EXTRACT( YEAR FROM {expr} )",
		"EXTRACT( 'epoch' FROM {expr} )", "SUBSTRING( {expr} FROM {num} FOR {num} )", "SUBSTRING( {expr} FOR {num} )", "TRIM( BOTH {str} FROM {expr} )", "TRIM( LEADING FROM {expr} )",
		"TRIM( FROM {expr} )", "POSITION( {prim} IN {prim} )", "OVERLAY( {expr} PLACING {expr} FROM {num} FOR {num} )", "count( * ) FILTER ( WHERE {bool} )",
		"percentile_cont( 0.5 ) WITHIN GROUP ( ORDER BY {expr} )", "array_agg( DISTINCT {prim} ORDER BY {prim} DESC NULLS LAST )",
		"make_interval( days => {expr} )", "f( VARIADIC {prim} )", "pg_catalog . lower( {expr} )", "( {expr} ) [ {num} ]", "( {prim} ) . f1", "( ROW( {expr} , {expr} ) ) . *",
		"jsonb_build_object( {str} , {expr} )", "greatest( {expr} , {expr} )", "( ( {scalar} ) )", "NORMALIZE( {expr} , NFC )",
		"XMLELEMENT( NAME foo , {expr} )", "concat( {expr} , {str} , {expr} )", "substring( {expr} , 1 , 2 )",
	},
	"window": {
		"sum( {val} ) FILTER ( WHERE {bool} ) OVER w", "first_value( {expr} ) OVER ( w ROWS 1 PRECEDING EXCLUDE CURRENT ROW )",
		"avg( {val} ) OVER ( ORDER BY {expr} RANGE BETWEEN INTERVAL '1 day' PRECEDING AND UNBOUNDED FOLLOWING )",
	},
	"val": {
		"{prim} || {prim}", "{prim} -> {prim}", "{prim} ->> {str}", "{prim} #> {prim}", "{prim} #>> {prim}", "{prim} #- {prim}", "{prim} @> {prim}", "{prim} <@ {prim}",
		"{prim} ? {prim}", "{prim} ?| {prim}", "{prim} ?& {prim}", "{prim} @? {prim}", "{prim} @@ {prim}", "{prim} ^ {prim}", "@ {prim}", "|/ {prim}",
		`{prim} COLLATE "C"`, "{prim} AT TIME ZONE {prim}", "{prim} OPERATOR ( pg_catalog . + ) {prim}", "{prim} << {prim}", "{prim} && {prim}", "{prim} |>> {prim}",
		"{prim} <-> {prim}", "{prim} ~ {prim}", "{prim} !~* {prim}", "{prim} ^@ {prim}", "{prim} #<@%& {prim}",
	},
	"pred": {
		"{prim} ILIKE {prim}", "{prim} NOT ILIKE {prim} ESCAPE ''", "{prim} SIMILAR TO {str}", "{prim} IS DISTINCT FROM {prim}", "{prim} IS NOT DISTINCT FROM {prim}",
		"{prim} BETWEEN SYMMETRIC {prim} AND {prim}", "{prim} ISNULL", "{prim} NOTNULL", "{prim} IS TRUE", "{prim} IS NOT UNKNOWN", "{prim} IS NORMALIZED", "{prim} IS DOCUMENT",
		"{prim} = ANY ( {prim} )", "{prim} <> ALL ( {scalar} )", "{prim} LIKE ANY ( ARRAY [ {str} ] )", "( {expr} , {expr} ) OVERLAPS ( {expr} , {expr} )",
		"{prim} = SOME ( {query1} )", "( {expr} , {expr} ) IS DISTINCT FROM ROW( {expr} , {expr} )", "{prim} IN ( VALUES ( {expr} ) , ( {expr} ) )",
	},
	"item":  {"{prim} {name0}", "{qcol} AS {label}", "{expr} AS {label}", "{prim} {name0}"},
	"label": {"select", "from", "where", "set", "returning", "order", "limit", "for", "using", "union", "when"},
	"name0": {"x", "y", "total", "value", "name"},
	"dirs":  {"NULLS FIRST", "DESC NULLS LAST", "USING <", "ASC NULLS FIRST"},
	"refs": {
		"ONLY {table}", "{table} *", "ONLY ( {table} )", "generate_series( 1 , {num} ) AS {name}", "unnest( {prim} ) WITH ORDINALITY AS {name} ( x , y )", "{rareref}",
		"{table} TABLESAMPLE BERNOULLI ( {num} ) REPEATABLE ( {num} )", "json_to_record( {prim} ) AS x ( a int , b text )", "{tab} FULL OUTER JOIN {tab} USING ( {col} , {col} )",
		"{tab} , LATERAL ( {query} ) AS {name}", "( VALUES ( {expr} , {expr} ) , ( {expr} , {expr} ) ) AS {name} ( x , y )", "{tab} LEFT JOIN LATERAL f( {expr} ) ON TRUE",
		"XMLTABLE( '/a' PASSING ( {expr} ) COLUMNS x int PATH 'y' ) AS {name}",
	},
}
