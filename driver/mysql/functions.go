package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Functions of a statement are on a list: a function that is not there may be a
// stored one, which can write what is not captured.

// steady functions give the same answer in two statements of one packet, or
// differ only in the time, which cannot add a row behind the capture's back.
var steady = words(`
abs acos addtime adddate aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg
bin bin_to_uuid bit_and bit_count bit_length bit_or bit_xor
cast ceil ceiling char char_length character_length charset coalesce coercibility collation compress concat concat_ws
connection_id conv convert convert_tz cos cot count crc32 crc32c cume_dist curdate current_date current_role current_time
current_timestamp current_user curtime
database date date_add date_format date_sub datediff datetime day dayname dayofmonth dayofweek dayofyear decimal
dec decode degrees dense_rank
elt encode exists exp export_set extract extractvalue
field find_in_set first_value floor format format_bytes format_pico_time from_base64 from_days from_unixtime
geometrycollection get_format greatest group_concat grouping
hex hour
if ifnull in inet6_aton inet6_ntoa inet_aton inet_ntoa insert instr interval is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6
is_uuid isnull
json_array json_array_append json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth
json_detailed json_equals json_exists json_extract json_insert json_keys json_length json_loose json_merge
json_merge_patch json_merge_preserve json_normalize json_object json_objectagg json_overlaps json_pretty json_query
json_quote json_remove json_replace json_schema_valid json_search json_set json_storage_size json_table json_type
json_unquote json_valid json_value
lag last_day last_value lcase lead least left length linestring ln localtime localtimestamp locate log log10 log2 lower lpad ltrim
make_set makedate maketime match max md5 microsecond mid min minute mod month monthname
multilinestring multipoint multipolygon
nchar natural_sort_key not now nth_value ntile nullif numeric nvl nvl2
oct octet_length ord
percent_rank period_add period_diff pi point polygon position pow power
quarter quote
radians rank regexp_instr regexp_like regexp_replace regexp_substr repeat replace reverse right round row row_number rpad rtrim
schema sec_to_time second session_user sformat sha sha1 sha2 sign signed sin soundex space
sqrt st_area st_asbinary st_asgeojson st_astext st_aswkb st_aswkt st_buffer st_centroid st_contains st_convexhull st_crosses
st_difference st_dimension st_disjoint st_distance st_distance_sphere st_endpoint st_envelope st_equals st_exteriorring
st_geohash st_geomfromgeojson st_geomfromtext st_geomfromwkb st_geometryn st_geometrytype st_intersection st_intersects
st_isclosed st_isempty st_issimple st_isvalid st_latitude st_length st_longitude st_numgeometries st_numpoints st_overlaps
st_pointfromtext st_pointn st_simplify st_srid st_startpoint st_symdifference st_touches st_union st_within st_x st_y
std stddev stddev_pop stddev_samp str_to_date strcmp subdate substr substring substring_index subtime sum system_user
tan time time_format time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_char to_days to_seconds
to_vector trim truncate
ucase uncompress unhex unix_timestamp unsigned upper user utc_date utc_time utc_timestamp uuid_to_bin
validate_password_strength values var_pop var_samp varbinary binary varchar variance vec_distance vec_distance_cosine
vec_distance_euclidean vec_fromtext vec_totext vector_dim vector_to_string string_to_vector version
week weekday weekofyear weight_string
year yearweek
all and any as between by by case distinct div else from like limit on or over partition regexp rlike select some then union using when where xor`)

// fickle functions give another answer each time, depend on the statement before,
// or take their time. They may stand in what is assigned, which is evaluated once.
var fickle = words(`
rand uuid uuid_v4 uuid_v7 uuid_short sys_guid sysdate sleep random_bytes last_insert_id
encrypt password old_password gen_random_uuid`)

func words(list string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		m[w] = true
	}
	return m
}

// checkFunctions refuses what could write unseen, and in the condition and also,
// which are evaluated twice, what gives two answers.
func checkFunctions(s *sqltext.Statement, also string) error {
	twice := s.Slice(s.With) + " " + s.Slice(s.From) + " " + s.Slice(s.Where) + " " + also
	for _, f := range s.Functions {
		inWhere := calledIn(twice, f)
		switch {
		case strings.HasPrefix(f, "@@"):
			if inWhere {
				return unsupported("volatile", "the condition reads the variable "+f, "compute the value in the program")
			}
		case steady[f] && !qualified(s.Text, f):
		case f == "row_count" || f == "found_rows":
			return unsupported("volatile", f+"() tells of the statement before, which the capture's own stand behind", "ask for it in a statement of its own, outside")
		case fickle[f] && !qualified(s.Text, f):
			// The last insert id is the same all along, unless it is set.
			if inWhere && f != "last_insert_id" {
				return unsupported("volatile", fmt.Sprintf("the condition calls %s(), which gives another answer each time", f),
					"compute the value in the program")
			}
		default:
			return unsupported("volatile", fmt.Sprintf("%s() is not known to be free of effects and to give the same answer twice", f),
				"compute the value in the program")
		}
	}
	return nil
}

// calledIn tells whether name may be called in a part of the text. A string that
// holds the name counts, too: too much is refused rather than too little.
func calledIn(part, name string) bool { return strings.Contains(strings.ToLower(part), name) }

// qualified tells whether name may stand behind a dot: then it is a stored
// function, even if a built-in one has the same name.
func qualified(text, name string) bool {
	low := strings.ToLower(text)
	for from := 0; ; {
		i := strings.Index(low[from:], name)
		if i < 0 {
			return false
		}
		i += from
		if strings.HasSuffix(strings.TrimRight(low[:i], "` \t\r\n"), ".") {
			rest := strings.TrimLeft(low[i+len(name):], "` \t\r\n")
			if strings.HasPrefix(rest, "(") {
				return true
			}
		}
		from = i + len(name)
	}
}

// MayWrite is for mode XA: variables of the session do not count.
func (Dialect) MayWrite(s *sqltext.Statement) bool {
	return slices.ContainsFunc(s.Functions, func(f string) bool {
		return !strings.HasPrefix(f, "@") && (!steady[f] && !fickle[f] || qualified(s.Text, f))
	})
}

// WroteQuery is none: the server does not tell.
func (Dialect) WroteQuery() string { return "" }
