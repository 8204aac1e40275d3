package proxy

import "strings"

// rowwise are functions of every dialect that give one value for one row and
// the same for the same arguments. What is not here may be an aggregate, or give
// another answer each time.
var rowwise = set(`abs ascii ceil ceiling char char_length character_length coalesce concat concat_ws convert cast date
	date_format date_part date_trunc datetime day dayofmonth dayofweek dayofyear decimal decode div encode exists exp extract
	floor format from_unixtime greatest hex hour if ifnull iif in instr json_contains json_extract json_length
	json_unquote json_value last_day lcase least left length ln locate log lower lpad ltrim md5 microsecond mid minute mod
	month nullif numeric nvl octet_length ord position pow power printf quarter quote repeat replace reverse right round rpad
	rtrim second sha2 sign signed split_part sqrt strftime strpos substr substring time timestamp to_char to_date
	to_number to_timestamp trim trunc truncate typeof ucase unhex unix_timestamp unsigned upper varchar week weekday year`)

// clocks give the same answer everywhere in one statement, but not in the next.
var clocks = set(`current_date current_time current_timestamp curdate curtime localtime localtimestamp now transaction_timestamp
	utc_date utc_time utc_timestamp`)

// withClock are functions of rowwise that read a clock when their arguments say so.
var withClock = set(`date datetime strftime time unix_timestamp`)

func set(list string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		m[w] = true
	}
	return m
}

// onlyRows tells that none of these functions is an aggregate.
func onlyRows(functions []string) bool {
	for _, f := range functions {
		if !rowwise[f] && !clocks[f] {
			return false
		}
	}
	return true
}

// steady tells that a condition with these functions selects the same rows when
// it stands in a statement twice, or else in two statements.
func steady(functions []string, oneStatement bool) bool {
	for _, f := range functions {
		if !rowwise[f] && !(oneStatement && clocks[f]) || !oneStatement && withClock[f] {
			return false
		}
	}
	return true
}
