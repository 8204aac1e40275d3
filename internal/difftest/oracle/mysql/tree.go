package mysql

import (
	"fmt"
	"reflect"

	"github.com/sqlc-dev/marino/ast"
)

// anywhere leaves positions out of a comparison of trees.
const anywhere = -1 << 62

// same compares two trees. The nodes of got must stand shift bytes before those
// of want, unless shift is anywhere; some nodes record no place. It gives the
// path to the first difference, or "".
func same(got, want any, shift int) string {
	return trees{shift}.differ(reflect.ValueOf(got), reflect.ValueOf(want), "")
}

type trees struct{ shift int }

// unlike are the fields that may differ in equal trees: what a node's text was,
// what the parser counts through the whole text, and what later passes write.
var unlike = map[reflect.Type]map[string]bool{
	typeOf[ast.SelectStmt]():          {"QueryBlockOffset": true},
	typeOf[ast.ValueExprBase]():       {"projectionOffset": true},
	typeOf[ast.ParamMarkerExprBase](): {"Order": true},
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// offsets are the fields that hold a place in the text.
var offsets = map[reflect.Type]string{
	typeOf[ast.SelectField]():         "Offset",
	typeOf[ast.ParamMarkerExprBase](): "Offset",
}

func (t trees) differ(a, b reflect.Value, path string) string {
	if a.IsValid() != b.IsValid() {
		return path + ": only one is there"
	}
	if !a.IsValid() {
		return ""
	}
	if a.Type() != b.Type() {
		return fmt.Sprintf("%s: %v and %v", path, a.Type(), b.Type())
	}
	switch a.Kind() {
	case reflect.Interface, reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return path + ": only one is there"
			}
			return ""
		}
		return t.differ(a.Elem(), b.Elem(), path)
	case reflect.Struct:
		return t.differStruct(a, b, path)
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s: %d and %d items", path, a.Len(), b.Len())
		}
		for i := range a.Len() {
			if d := t.differ(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
		return ""
	default:
		if !a.Equal(b) {
			return fmt.Sprintf("%s: %v and %v", path, a, b)
		}
		return ""
	}
}

func (t trees) differStruct(a, b reflect.Value, path string) string {
	typ := a.Type()
	if typ.PkgPath() == astPackage && typ.Name() == "node" {
		return t.differPlace(a.FieldByName("offset"), b.FieldByName("offset"), path)
	}
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		var d string
		switch {
		case unlike[typ][name], name == "flag" && typ.Name() == "exprNode": // the flags follow from the tree
		case offsets[typ] == name:
			d = t.differPlace(a.Field(i), b.Field(i), path+"."+name)
		default:
			d = t.differ(a.Field(i), b.Field(i), path+"."+name)
		}
		if d != "" {
			return d
		}
	}
	return ""
}

// differPlace compares two places. 0 is also that of a node which has none.
func (t trees) differPlace(a, b reflect.Value, path string) string {
	if t.shift == anywhere || a.Int() == 0 || b.Int() == 0 || a.Int()+int64(t.shift) == b.Int() {
		return ""
	}
	return fmt.Sprintf("%s: stands at %d, not at %d", path, a.Int()+int64(t.shift), b.Int())
}

var astPackage = typeOf[ast.SelectStmt]().PkgPath()

// walk calls visit with every node of a tree, each once: pointers to structs.
// Unlike the parser's own visitor it leaves out nothing.
func walk(tree any, visit func(node any)) {
	seen := map[any]bool{}
	var into func(v reflect.Value)
	into = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Interface:
			into(v.Elem())
		case reflect.Pointer:
			if v.IsNil() || v.Elem().Kind() != reflect.Struct || v.Elem().Type().PkgPath() != astPackage || !v.CanInterface() {
				return
			}
			if node := v.Interface(); !seen[node] {
				seen[node] = true
				visit(node)
				into(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				into(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				into(v.Index(i))
			}
		}
	}
	into(reflect.ValueOf(tree))
}

// absent tells whether a part of a tree is not there.
func absent(part any) bool {
	v := reflect.ValueOf(part)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Interface:
		return v.IsNil()
	case reflect.Slice:
		return v.Len() == 0
	}
	return false
}
