package postgres

import (
	"strings"

	pg "github.com/sqlc-dev/oliphant"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// same tells whether two trees are the same, positions in the text left aside.
func same(a, b proto.Message) bool { return sameMessage(a.ProtoReflect(), b.ProtoReflect()) }

func sameMessage(a, b protoreflect.Message) bool {
	if a.Descriptor() != b.Descriptor() || a.IsValid() != b.IsValid() {
		return false
	}
	fields, equal := 0, true
	a.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if position(fd) {
			return true
		}
		fields++
		equal = b.Has(fd) && sameField(fd, v, b.Get(fd))
		return equal
	})
	if !equal {
		return false
	}
	b.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !position(fd) {
			fields--
		}
		return true
	})
	return fields == 0
}

func sameField(fd protoreflect.FieldDescriptor, a, b protoreflect.Value) bool {
	if !fd.IsList() {
		return sameValue(fd, a, b)
	}
	if a.List().Len() != b.List().Len() {
		return false
	}
	for i := range a.List().Len() {
		if !sameValue(fd, a.List().Get(i), b.List().Get(i)) {
			return false
		}
	}
	return true
}

func sameValue(fd protoreflect.FieldDescriptor, a, b protoreflect.Value) bool {
	if fd.Kind() == protoreflect.MessageKind {
		return sameMessage(a.Message(), b.Message())
	}
	return a.Equal(b)
}

// position tells the fields that say where in the text something stood.
func position(fd protoreflect.FieldDescriptor) bool {
	if fd.Kind() != protoreflect.Int32Kind {
		return false
	}
	switch name := string(fd.Name()); name {
	case "stmt_len", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end":
		return true
	default:
		return strings.HasSuffix(name, "location")
	}
}

// sameAll compares two lists of trees.
func sameAll(a, b []proto.Message) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !same(a[i], b[i]) {
			return false
		}
	}
	return true
}

// walk calls visit for m and every message below it.
func walk(m proto.Message, visit func(proto.Message)) { walkMessage(m.ProtoReflect(), visit) }

func walkMessage(m protoreflect.Message, visit func(proto.Message)) {
	visit(m.Interface())
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			for i := range v.List().Len() {
				walkMessage(v.List().Get(i).Message(), visit)
			}
		default:
			walkMessage(v.Message(), visit)
		}
		return true
	})
}

// all gives a clause that is a list as trees.
func all(list []*pg.Node) []proto.Message {
	var out []proto.Message
	for _, n := range list {
		out = append(out, n)
	}
	return out
}

// one gives a clause that is one tree, or none when it is absent.
func one[T interface {
	comparable
	proto.Message
}](m T,
) []proto.Message {
	var absent T
	if m == absent {
		return nil
	}
	return []proto.Message{m}
}
