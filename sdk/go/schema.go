package plinth

import (
	"fmt"
	"slices"
)

// Kind is the logical type of a column.
type Kind uint8

// Kinds of columns.
const (
	Boolean Kind = iota
	Int64
	// TimestampUs is microseconds since 1970-01-01T00:00:00Z.
	TimestampUs
	Float32
	Float64
	// Utf8 is text.
	Utf8
	// Binary is any bytes.
	Binary
)

var kindNames = [...]string{"boolean", "int64", "timestamp-us", "float32", "float64", "utf8", "binary"}

// Numeric is every kind that [Block.Numbers] reads, without timestamps.
var Numeric = []Kind{Boolean, Int64, Float32, Float64}

// String is the kind's name, as in "timestamp-us".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// KindOf is the kind of a name.
func KindOf(name string) (Kind, error) {
	for kind, known := range kindNames {
		if known == name {
			return Kind(kind), nil
		}
	}
	return 0, Errorf("unknown-kind", "there is no kind `%s`%s", name, nearest(name, kindNames[:]))
}

// JSONSchema describes a kind among options; the tag enum says which are taken.
func (k Kind) JSONSchema() string { return `{"type":"string"}` }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(text []byte) (err error) {
	*k, err = KindOf(string(text))
	return err
}

// Field is one column of a schema.
type Field struct {
	// Name is unique within its schema, not empty.
	Name string
	// Kind is the logical type.
	Kind Kind
	// Nullable tells whether the column may hold nulls; only nullable columns have a validity bitmap.
	Nullable bool
}

// Schema is the columns of a table. Order matters: it says where each column lies in a block.
type Schema struct {
	Fields []Field
}

// NewSchema is a schema of these columns.
func NewSchema(fields ...Field) *Schema { return &Schema{fields} }

// Column is where a column stands, or the problem "unknown-column" with the nearest name there is.
func (s *Schema) Column(name string) (int, error) {
	names := make([]string, len(s.Fields))
	for index, field := range s.Fields {
		if field.Name == name {
			return index, nil
		}
		names[index] = field.Name
	}
	return 0, Errorf("unknown-column", "unknown column `%s`%s", name, nearest(name, names)).InColumn(name)
}

// Columns is where several columns stand: those of these names, each once and of the kind, or, where no names are given
// (nil), all of the kind. Problems are "bad-options" of a name that is given twice, "unknown-column" and "wrong-kind".
func (s *Schema) Columns(names []string, kind Kind) ([]int, error) {
	var columns []int
	if names == nil {
		for index, field := range s.Fields {
			if field.Kind == kind {
				columns = append(columns, index)
			}
		}
		return columns, nil
	}
	for index, name := range names {
		if slices.Contains(names[:index], name) {
			return nil, badOptions(wrong("columns", fmt.Sprintf("`%s` is in it twice", name)))
		}
	}
	for _, name := range names {
		index, err := s.Column(name)
		if err != nil {
			return nil, err
		}
		if is := s.Fields[index].Kind; is != kind {
			return nil, Errorf("wrong-kind", "column `%s` is %s, not %s: cast it first", name, is, kind).InColumn(name)
		}
		columns = append(columns, index)
	}
	return columns, nil
}
