package plinth

import "math"

// Builder makes a block of a schema: write its columns in order, then call [Builder.Finish], which tells the first
// thing that went wrong, with the code "bad-output".
//
// Each column takes its values and, if it is nullable, a bitmap of which are present (see [Bitmap]); nil stands for
// all. Slots of nulls are set to zero here, so anything may stand in them.
type Builder struct {
	schema  *Schema
	rows    int
	column  int
	block   Block
	anyNull bool
	err     error
}

// NewBuilder begins a block.
func NewBuilder(schema *Schema, rows int) *Builder {
	builder := &Builder{schema: schema, rows: rows, block: Block{Rows: uint32(rows)}}
	if rows < 0 || rows > math.MaxUint32 {
		builder.err = Errorf("bad-output", "%d rows are more than a block holds", rows)
	}
	return builder
}

// Float64 writes the next column, of float64. The values may be used as they are: do not change them afterwards.
func (b *Builder) Float64(values []float64, valid []byte) *Builder {
	if b.begin(len(values), valid, Float64) {
		b.block.F64s = place(b.block.F64s, values, valid)
	}
	return b
}

// Float32 writes the next column, of float32.
func (b *Builder) Float32(values []float32, valid []byte) *Builder {
	if b.begin(len(values), valid, Float32) {
		b.block.F32s = place(b.block.F32s, values, valid)
	}
	return b
}

// Int64 writes the next column, of int64 or timestamp-us.
func (b *Builder) Int64(values []int64, valid []byte) *Builder {
	if b.begin(len(values), valid, Int64) {
		b.block.S64s = place(b.block.S64s, values, valid)
	}
	return b
}

// Bool writes the next column, of booleans.
func (b *Builder) Bool(values []bool, valid []byte) *Builder {
	if b.begin(len(values), valid, Boolean) {
		bits := Bitmap(len(values), func(row int) bool { return values[row] && (valid == nil || bit(valid, row)) })
		b.block.Bits = append(b.block.Bits, bits...)
	}
	return b
}

// Text writes the next column, of utf8 or binary.
func (b *Builder) Text(values []string, valid []byte) *Builder {
	return texts(b, values, valid)
}

// Binary writes the next column, of utf8 or binary, from bytes.
func (b *Builder) Binary(values [][]byte, valid []byte) *Builder {
	return texts(b, values, valid)
}

// Finish is the block.
func (b *Builder) Finish() (*Block, error) {
	if b.err != nil {
		return nil, b.err
	}
	if b.column < len(b.schema.Fields) {
		name := b.schema.Fields[b.column].Name
		return nil, Errorf("bad-output", "column `%s` was not written", name).InColumn(name)
	}
	if !b.anyNull {
		b.block.Validity = nil
	}
	return &b.block, nil
}

// Bitmap makes one bit a row, least significant first.
func Bitmap(rows int, at func(row int) bool) []byte {
	bits := make([]byte, bitmapLen(rows))
	for row := range rows {
		if at(row) {
			bits[row>>3] |= 1 << (row & 7)
		}
	}
	return bits
}

func (b *Builder) begin(values int, valid []byte, kind Kind) bool {
	if b.err != nil {
		return false
	}
	if b.column == len(b.schema.Fields) {
		b.err = Errorf("bad-output", "more than %d columns were written", b.column)
		return false
	}
	field := b.schema.Fields[b.column]
	fail := func(format string, arguments ...any) bool {
		b.err = Errorf("bad-output", "column `%s` "+format, append([]any{field.Name}, arguments...)...).InColumn(field.Name)
		return false
	}
	b.column++
	bytes := bitmapLen(b.rows)
	switch {
	case !shares(field.Kind, kind):
		return fail("is %s, and %s was written", field.Kind, kind)
	case values != b.rows:
		return fail("has %d values in %d rows", values, b.rows)
	case valid != nil && len(valid) != bytes:
		return fail("has a bitmap of %d bytes, not %d", len(valid), bytes)
	}
	nulls := valid != nil && Valid{valid, b.rows}.Nulls() > 0
	if nulls && !field.Nullable {
		return fail("is not nullable and has a null")
	}
	if field.Nullable {
		b.anyNull = b.anyNull || nulls
		// Bits after the last row are clear, so that equal columns are equal bytes.
		present := Bitmap(b.rows, func(row int) bool { return valid == nil || bit(valid, row) })
		b.block.Validity = append(b.block.Validity, present...)
	}
	return true
}

// place appends a column; the first of a type becomes the list itself.
func place[T float64 | float32 | int64](list, values []T, valid []byte) []T {
	start := len(list)
	if start == 0 {
		list = values[:len(values):len(values)]
	} else {
		list = append(list, values...)
	}
	if valid != nil {
		for row := range values {
			if !bit(valid, row) {
				list[start+row] = 0
			}
		}
	}
	return list
}

func texts[T string | []byte](b *Builder, values []T, valid []byte) *Builder {
	if !b.begin(len(values), valid, Utf8) {
		return b
	}
	offsets := append(b.block.Offsets, uint32(len(b.block.Bytes)))
	for row, value := range values {
		if valid == nil || bit(valid, row) {
			b.block.Bytes = append(b.block.Bytes, value...)
		}
		if uint64(len(b.block.Bytes)) > math.MaxUint32 {
			b.err = Errorf("bad-output", "more than 4 GiB of text in one block")
			return b
		}
		offsets = append(offsets, uint32(len(b.block.Bytes)))
	}
	b.block.Offsets = offsets
	return b
}
