package plinth

import (
	"iter"
	"unicode/utf8"
	"unsafe"
)

// Block is rows of a schema that both sides agreed on beforehand; it carries no names.
//
// Columns of one physical type lie one after another, column-major, Rows values each, in schema order. The slot of a
// null is present and holds zero (an empty text). Read it through the methods, make one with a [Builder].
type Block struct {
	Rows uint32
	// F64s holds the float64 columns.
	F64s []float64
	// F32s holds the float32 columns.
	F32s []float32
	// S64s holds the int64 and timestamp-us columns.
	S64s []int64
	// Bits holds ceil(rows / 8) bytes for each boolean column.
	Bits []uint8
	// Offsets holds rows + 1 offsets for each utf8 or binary column, absolute into Bytes, never decreasing.
	Offsets []uint32
	// Bytes holds the text and binary values, end to end.
	Bytes []uint8
	// Validity holds ceil(rows / 8) bytes for each nullable column (1 = present), in schema order; it is empty where the
	// block holds no null at all.
	Validity []uint8
}

// Float64 is the values of a float64 column, to be read or changed in place; leave zero where a row is null. It fails
// with "wrong-kind" where the column holds something else, "bad-block" where the block is too short for the schema; so
// do its like.
func (b *Block) Float64(schema *Schema, column int) ([]float64, error) {
	return slots(schema, column, Float64, b.F64s, int(b.Rows))
}

// Float32 is the values of a float32 column.
func (b *Block) Float32(schema *Schema, column int) ([]float32, error) {
	return slots(schema, column, Float32, b.F32s, int(b.Rows))
}

// Int64 is the values of an int64 or timestamp-us column.
func (b *Block) Int64(schema *Schema, column int) ([]int64, error) {
	return slots(schema, column, Int64, b.S64s, int(b.Rows))
}

// Bool is the values of a boolean column.
func (b *Block) Bool(schema *Schema, column int) (Bits, error) {
	bits, err := slots(schema, column, Boolean, b.Bits, bitmapLen(int(b.Rows)))
	return Bits{bits, int(b.Rows)}, err
}

// Text is the values of a utf8 column. Its UTF-8 is checked here, once.
func (b *Block) Text(schema *Schema, column int) (Texts, error) {
	bytes, err := b.Binary(schema, column)
	if err != nil {
		return Texts{}, err
	}
	field := schema.Fields[column]
	if field.Kind != Utf8 {
		return Texts{}, wrongKind(field, Utf8.String())
	}
	for _, value := range bytes.All() {
		if !utf8.Valid(value) {
			return Texts{}, Errorf("bad-block", "text is not UTF-8").InColumn(field.Name)
		}
	}
	return Texts{bytes}, nil
}

// Binary is the values of a utf8 or binary column as bytes.
func (b *Block) Binary(schema *Schema, column int) (Binaries, error) {
	offsets, err := slots(schema, column, Utf8, b.Offsets, int(b.Rows)+1)
	if err != nil {
		return Binaries{}, err
	}
	for row := range int(b.Rows) {
		if offsets[row] > offsets[row+1] {
			return Binaries{}, tooShort(schema.Fields[column])
		}
	}
	if int(offsets[b.Rows]) > len(b.Bytes) {
		return Binaries{}, tooShort(schema.Fields[column])
	}
	return Binaries{offsets, b.Bytes}, nil
}

// Valid tells which rows of a column hold a value.
func (b *Block) Valid(schema *Schema, column int) (Valid, error) {
	if column < 0 || column >= len(schema.Fields) {
		return Valid{}, noColumn(schema, column)
	}
	field := schema.Fields[column]
	if len(b.Validity) == 0 || !field.Nullable {
		return Valid{nil, int(b.Rows)}, nil
	}
	before, width := 0, bitmapLen(int(b.Rows))
	for _, field := range schema.Fields[:column] {
		if field.Nullable {
			before++
		}
	}
	if len(b.Validity) < (before+1)*width {
		return Valid{}, tooShort(field)
	}
	return Valid{b.Validity[before*width : (before+1)*width : (before+1)*width], int(b.Rows)}, nil
}

// Floats is the values of a numeric column of any type as floats, 0 where a row is null. Booleans are 0 and 1, timestamps
// microseconds. Of a float64 column they are the block's own, as from [Block.Float64]; of another they are converted.
func (b *Block) Floats(schema *Schema, column int) ([]float64, error) {
	if column < 0 || column >= len(schema.Fields) {
		return nil, noColumn(schema, column)
	}
	switch field := schema.Fields[column]; field.Kind {
	case Float64:
		return b.Float64(schema, column)
	case Float32:
		values, err := b.Float32(schema, column)
		return floats(values), err
	case Int64, TimestampUs:
		values, err := b.Int64(schema, column)
		return floats(values), err
	case Boolean:
		values, err := b.Bool(schema, column)
		if err != nil {
			return nil, err
		}
		floats := make([]float64, values.Len())
		for row := range floats {
			if values.At(row) {
				floats[row] = 1
			}
		}
		return floats, nil
	default:
		return nil, wrongKind(field, "a number")
	}
}

func floats[T float32 | int64](values []T) []float64 {
	floats := make([]float64, len(values))
	for row, value := range values {
		floats[row] = float64(value)
	}
	return floats
}

// Numbers is the values of a numeric column of any type as floats, as from [Block.Floats], with whether each holds a
// value.
func (b *Block) Numbers(schema *Schema, column int) (iter.Seq2[float64, bool], error) {
	values, err := b.Floats(schema, column)
	if err != nil {
		return nil, err
	}
	valid, err := b.Valid(schema, column)
	if err != nil {
		return nil, err
	}
	return func(yield func(float64, bool) bool) {
		for row, value := range values {
			if !yield(value, valid.At(row)) {
				return
			}
		}
	}, nil
}

// ZeroNulls writes zero into the float64 slots of a column's nulls, which is what must be left there.
func (b *Block) ZeroNulls(schema *Schema, column int) error {
	values, err := b.Float64(schema, column)
	if err != nil {
		return err
	}
	valid, err := b.Valid(schema, column)
	if err != nil || valid.bits == nil {
		return err
	}
	for row := range values {
		if !valid.At(row) {
			values[row] = 0
		}
	}
	return nil
}

// Bits is the values of a boolean column.
type Bits struct {
	bits []byte
	rows int
}

// At is the value of a row.
func (b Bits) At(row int) bool { return bit(b.bits, row) }

// Len is the number of rows.
func (b Bits) Len() int { return b.rows }

// Valid tells which rows of a column hold a value.
type Valid struct {
	bits []byte
	rows int
}

// At tells whether a row holds a value.
func (v Valid) At(row int) bool { return v.bits == nil || bit(v.bits, row) }

// Nulls is the number of rows without a value.
func (v Valid) Nulls() int {
	nulls := 0
	for row := range v.rows {
		if !v.At(row) {
			nulls++
		}
	}
	return nulls
}

// Bitmap is one bit a row, least significant first; nil where every row holds a value.
func (v Valid) Bitmap() []byte { return v.bits }

// Binaries is the values of a utf8 or binary column; empty for nulls.
type Binaries struct {
	offsets []uint32
	bytes   []byte
}

// At is the bytes of a row, which are the block's own.
func (b Binaries) At(row int) []byte {
	start, end := b.offsets[row], b.offsets[row+1]
	return b.bytes[start:end:end]
}

// Len is the number of rows.
func (b Binaries) Len() int { return max(len(b.offsets), 1) - 1 }

// All is every row in order.
func (b Binaries) All() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for row := range b.Len() {
			if !yield(row, b.At(row)) {
				return
			}
		}
	}
}

// Texts is the values of a utf8 column; empty for nulls.
type Texts struct{ bytes Binaries }

// At is the text of a row, without a copy: clone it to keep it longer than the block.
func (t Texts) At(row int) string {
	value := t.bytes.At(row)
	return unsafe.String(unsafe.SliceData(value), len(value))
}

// Len is the number of rows.
func (t Texts) Len() int { return t.bytes.Len() }

// All is every row in order.
func (t Texts) All() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for row := range t.Len() {
			if !yield(row, t.At(row)) {
				return
			}
		}
	}
}

func bit(bits []byte, row int) bool { return bits[row>>3]>>(row&7)&1 == 1 }

func bitmapLen(rows int) int { return (rows + 7) / 8 }

// shares tells whether columns of two kinds lie in the same list.
func shares(left, right Kind) bool { return listOf(left) == listOf(right) }

// listOf is the kind that names the list in which columns of a kind lie.
func listOf(kind Kind) Kind {
	switch kind {
	case TimestampUs:
		return Int64
	case Binary:
		return Utf8
	default:
		return kind
	}
}

// slots is a column's part of the list of its physical type.
func slots[T any](schema *Schema, column int, kind Kind, all []T, width int) ([]T, error) {
	if column < 0 || column >= len(schema.Fields) {
		return nil, noColumn(schema, column)
	}
	field := schema.Fields[column]
	if !shares(field.Kind, kind) {
		return nil, wrongKind(field, kind.String())
	}
	// It is done for each column in each call, so it has to be quick.
	before, list := 0, listOf(kind)
	for index := range column {
		if listOf(schema.Fields[index].Kind) == list {
			before++
		}
	}
	start, end := before*width, (before+1)*width
	if len(all) < end {
		return nil, tooShort(field)
	}
	return all[start:end:end], nil
}

func noColumn(schema *Schema, column int) error {
	return Errorf("unknown-column", "column %d of %d", column, len(schema.Fields))
}

func wrongKind(field Field, wanted string) error {
	return Errorf("wrong-kind", "column `%s` is %s, not %s", field.Name, field.Kind, wanted).InColumn(field.Name)
}

func tooShort(field Field) error {
	return Errorf("bad-block", "the block does not fit its schema at column `%s`", field.Name).InColumn(field.Name)
}
