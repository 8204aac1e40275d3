package pgsql

import (
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
)

// readTwice refuses text whose second reading could differ from the first. The
// counts would show it, but only by failing every time.
func (w *writer) readTwice(text string) error {
	if f := unknownCall(text); f != "" {
		return &gtx.UnsupportedError{
			Code:   "volatile-source",
			Reason: fmt.Sprintf("before PostgreSQL 18 the rows that the statement joins are read twice, and %s might answer differently", f),
			Hint:   "use PostgreSQL 18 or newer, or write the rows that it gives into the statement",
		}
	}
	return nil
}

// unknownCall gives the first name in front of "(" that is neither a word of the
// grammar, nor a name for the columns of a FROM item behind AS or ")", nor a
// function known to answer the same again within one statement.
func unknownCall(text string) string {
	last, before := "", "" // the tokens in front
	for i := skipBlank(text, 0); i < len(text); {
		n := token(text[i:])
		if n == 0 {
			return text[i:]
		}
		word := text[i : i+n]
		next := skipBlank(text, i+n)
		if next < len(text) && text[next] == '(' && (wordByte(word[0]) || word[0] == '"') &&
			last != ")" && !strings.EqualFold(last, "as") &&
			(!repeatable[strings.ToLower(word)] || last == "." && !strings.EqualFold(before, "pg_catalog")) {
			return word
		}
		before, last, i = last, word, next
	}
	return ""
}

// repeatable are words of the grammar that stand in front of brackets, and
// functions that are immutable or stable.
var repeatable = func() map[string]bool {
	m := make(map[string]bool)
	for word := range strings.FieldsSeq(`
		all and any array as between by case cast coalesce distinct else end except exists extract filter from
		full greatest group having ilike in inner intersect is join lateral least left like limit not nullif offset on or
		order outer over overlaps overlay partition position recursive right row rows select set similar some substring then trim
		union using values when where with within
		bigint bit bpchar char character decimal dec float int integer interval numeric time timestamp timestamptz varchar varying
		abs age array_agg array_append array_length array_position array_remove array_to_string avg bool_and bool_or btrim cardinality
		ceil ceiling char_length concat concat_ws count cume_dist current_date current_schema current_setting current_time
		current_timestamp current_user date date_bin date_part date_trunc decode degrees dense_rank div encode every exp
		first_value floor format generate_series generate_subscripts initcap isfinite json_agg json_array_elements
		json_array_elements_text json_build_array json_build_object json_each json_each_text json_object_agg json_populate_record json_populate_recordset
		json_to_record json_to_recordset jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length
		jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text
		jsonb_object_agg jsonb_path_exists jsonb_path_query jsonb_populate_record jsonb_populate_recordset jsonb_set jsonb_to_record
		jsonb_to_recordset jsonb_typeof justify_days justify_hours justify_interval lag last_value lead length ln
		localtime localtimestamp log lower lpad ltrim make_date make_interval make_time make_timestamp max md5 min mod
		now nth_value ntile octet_length percent_rank power quote_ident quote_literal radians range_merge rank regexp_match regexp_matches
		regexp_replace regexp_split_to_array regexp_split_to_table repeat replace reverse round row_number row_to_json rpad rtrim scale sha256
		sign split_part sqrt starts_with statement_timestamp stddev string_agg string_to_array string_to_table strpos substr sum
		to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector transaction_timestamp translate trunc
		unnest upper variance width_bucket`) {
		m[word] = true
	}
	return m
}()
