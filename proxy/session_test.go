package proxy

import (
	"strings"
	"testing"
)

func TestEffectOf(t *testing.T) {
	for text, want := range map[string]effect{
		"SELECT 1":       noEffect,
		"\n (select 1) ": noEffect,
		"-- name: GetAuthor :one\nSELECT * FROM a": noEffect,
		"/* trace=1 */ UPDATE t SET a = 1":         noEffect,
		"/*! SET sql_mode = '' */":                 schemaMaybe,
		"-- a\rSET x = 1, (\nSELECT 1)":            schemaMaybe,
		"-- only":                                  schemaMaybe,
		"With x AS (SELECT 1) SELECT * FROM x":     noEffect,
		"insert into t values (1)":                 noEffect,
		"INSERT INTO t VALUES (1);":                noEffect,
		"INSERT INTO t VALUES (1); DROP TABLE t":   schemaMaybe,
		"delete from t":                            noEffect,
		"Replace INTO t VALUES (1)":                noEffect,
		"BEGIN":                                    control,
		"START TRANSACTION READ ONLY":              control,
		"commit":                                   control,
		"end":                                      control,
		"ABORT;":                                   control,
		"ROLLBACK TO s":                            control,
		"SAVEPOINT s":                              noEffect,
		"RELEASE s":                                noEffect,
		"SET sql_mode = ''":                        sessionMaybe,
		"use other":                                sessionMaybe,
		"RESET ALL":                                sessionMaybe,
		"DISCARD ALL":                              sessionMaybe,
		"SHOW x":                                   sessionMaybe,
		"PRAGMA x":                                 sessionMaybe,
		"SELECT set_config('a', 'b', false)":       sessionMaybe,
		"SELECT pg_catalog.Set_Config('a','b',true)":       sessionMaybe,
		"INSERT INTO t SELECT set_config('a', 'b', false)": sessionMaybe,
		"UPDATE t SET a = set_config('a', 'b', false)":     sessionMaybe,
		"DELETE FROM t WHERE set_config('a','b',false)=''": sessionMaybe,
		"SELECT a_b, sett_config, set_confi":               noEffect,
		"SELECT reset_configs()":                           sessionMaybe, // never too little
		"SELECT _config":                                   noEffect,
		"CREATE TABLE t (a int)":                           schemaMaybe,
		"selects":                                          schemaMaybe,
		"sel":                                              schemaMaybe,
		"updat\u00e9":                                      schemaMaybe,
		"":                                                 schemaMaybe,
		"(":                                                schemaMaybe,
		"CALL p()":                                         schemaMaybe,
	} {
		if got := effectOf(text); got != want {
			t.Errorf("effectOf(%q) = %d, want %d", text, got, want)
		}
	}
}

// TestEffectWords: the words as numbers are those that they stand for, and no
// beginning of them is one.
func TestEffectWords(t *testing.T) {
	for word, want := range map[string]effect{
		"select": noEffect, "with": noEffect, "insert": noEffect, "update": noEffect, "delete": noEffect, "replace": noEffect,
		"begin": control, "start": control, "commit": control, "end": control, "rollback": control, "abort": control, "savepoint": noEffect, "release": noEffect,
		"set": sessionMaybe, "use": sessionMaybe, "reset": sessionMaybe, "discard": sessionMaybe, "show": sessionMaybe, "pragma": sessionMaybe,
	} {
		if got := effectOf(strings.ToUpper(word) + " x"); got != want {
			t.Errorf("%s: %d, want %d", word, got, want)
		}
		if short := word[:len(word)-2]; short != "" && effectOf(short) != schemaMaybe {
			t.Errorf("%s has no effect", short)
		}
	}
}
