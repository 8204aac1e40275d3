// Package pqbase is what the dialect of PostgreSQL has to know of lib/pq.
package pqbase

import (
	"reflect"
	"strconv"
	"unsafe"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver/internal/pgbase"
)

// Base tells the dialect of PostgreSQL what lib/pq is like.
func Base() pgbase.Base { return pgbase.Base{Relocate: relocate} }

func relocate(err error, text string, at func(position int) int) error {
	return pgbase.Replace(err, func(old *pq.Error) *pq.Error {
		fresh := exported(old)
		if n, err := strconv.Atoi(old.Position); err == nil {
			fresh.Position = ""
			if n = at(n); n > 0 {
				fresh.Position = strconv.Itoa(n)
			}
		}
		if from, to := query(old), query(fresh); from != nil && *from != "" {
			*to = text
		}
		return fresh
	})
}

// exported copies the fields that a program can see.
func exported(old *pq.Error) *pq.Error {
	fresh := new(pq.Error)
	from, to := reflect.ValueOf(old).Elem(), reflect.ValueOf(fresh).Elem()
	for i := range from.NumField() {
		if from.Type().Field(i).IsExported() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return fresh
}

// query gives the field in which lib/pq keeps the text that was sent, nil where it
// has none. Error and ErrorWithDetail show the line of the position in it, so it must be the text
// that the position is in; lib/pq has no other way to set it. Without it they show
// the message alone.
func query(e *pq.Error) *string {
	if !hasQuery || queryField.Type.Kind() != reflect.String {
		return nil
	}
	return (*string)(unsafe.Add(unsafe.Pointer(e), queryField.Offset))
}

var queryField, hasQuery = reflect.TypeFor[pq.Error]().FieldByName("query")
