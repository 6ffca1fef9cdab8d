package plinth

import (
	"errors"
	"slices"
	"testing"
)

func everyKind() *Schema {
	return NewSchema(Field{"a", Float64, false}, Field{"t", Utf8, true}, Field{"b", Float64, true}, Field{"on", Boolean, false},
		Field{"raw", Binary, false}, Field{"n", Int64, false}, Field{"at", TimestampUs, true}, Field{"f", Float32, false})
}

func built(t *testing.T) *Block {
	t.Helper()
	block, err := NewBuilder(everyKind(), 3).
		Float64([]float64{1, 2, 3}, nil).
		Text([]string{"x", "gone", "öz"}, []byte{0b101}).
		Float64([]float64{4, 5, 9.9}, []byte{0b011}).
		Bool([]bool{true, false, true}, nil).
		Binary([][]byte{{0xff}, nil, {1, 2}}, nil).
		Int64([]int64{7, 8, 9}, nil).
		Int64([]int64{10, 20, 30}, nil).
		Float32([]float32{1, 2, 4}, nil).
		Finish()
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func equal[T comparable](t *testing.T, values []T, err error, want ...T) {
	t.Helper()
	if err != nil || !slices.Equal(values, want) {
		t.Errorf("%v, %v; not %v", values, err, want)
	}
}

func TestWhatWasBuiltIsWhatTheViewsShow(t *testing.T) {
	schema, block := everyKind(), built(t)
	floats, err := block.Float64(schema, 0)
	equal(t, floats, err, 1, 2, 3)
	floats, err = block.Float64(schema, 2)
	equal(t, floats, err, 4, 5, 0)
	ints, err := block.Int64(schema, 5)
	equal(t, ints, err, 7, 8, 9)
	ints, err = block.Int64(schema, 6)
	equal(t, ints, err, 10, 20, 30)
	small, err := block.Float32(schema, 7)
	equal(t, small, err, 1, 2, 4)
	texts, err := block.Text(schema, 1)
	equal(t, []string{texts.At(0), texts.At(1), texts.At(2)}, err, "x", "", "öz")
	raw, err := block.Binary(schema, 4)
	equal(t, []string{string(raw.At(0)), string(raw.At(1)), string(raw.At(2))}, err, "\xff", "", "\x01\x02")
	on, err := block.Bool(schema, 3)
	equal(t, []bool{on.At(0), on.At(1), on.At(2)}, err, true, false, true)
	var nulls []int
	for column := range schema.Fields {
		valid, err := block.Valid(schema, column)
		if err != nil {
			t.Fatal(err)
		}
		nulls = append(nulls, valid.Nulls())
	}
	equal(t, nulls, nil, 0, 1, 1, 0, 0, 0, 0, 0)
	numbers, err := block.Numbers(schema, 2)
	if err != nil {
		t.Fatal(err)
	}
	var seen []float64
	for value, valid := range numbers {
		if valid {
			seen = append(seen, value)
		}
	}
	equal(t, seen, nil, 4, 5)
	for column, wanted := range map[int][]float64{
		2: {4, 5, 0}, 3: {1, 0, 1}, 5: {7, 8, 9}, 6: {10, 20, 30}, 7: {1, 2, 4},
	} {
		made, err := block.Floats(schema, column)
		equal(t, made, err, wanted...)
	}
	floats, _ = block.Float64(schema, 2)
	floats[2] = 1
	if err := block.ZeroNulls(schema, 2); err != nil || floats[2] != 0 {
		t.Error(floats, err)
	}
}

func TestABlockWithoutNullsCarriesNoBitmap(t *testing.T) {
	block, err := NewBuilder(NewSchema(Field{"a", Int64, true}), 2).Int64([]int64{1, 2}, []byte{0xff}).Finish()
	if err != nil || block.Validity != nil {
		t.Error(block, err)
	}
}

func told(t *testing.T, err error, code, message string) {
	t.Helper()
	var problem *Problem
	if !errors.As(err, &problem) || problem.Code != code || problem.Message != message {
		t.Errorf("%v, not %s: %s", err, code, message)
	}
}

func TestABuilderTellsTheFirstThingThatWentWrong(t *testing.T) {
	schema := everyKind()
	_, err := NewBuilder(schema, 3).Int64([]int64{1}, nil).Finish()
	told(t, err, "bad-output", "column `a` is float64, and int64 was written")
	_, err = NewBuilder(schema, 3).Float64([]float64{1}, nil).Finish()
	told(t, err, "bad-output", "column `a` has 1 values in 3 rows")
	_, err = NewBuilder(schema, 3).Float64([]float64{1, 2, 3}, []byte{0b110}).Finish()
	told(t, err, "bad-output", "column `a` is not nullable and has a null")
	_, err = NewBuilder(schema, 3).Finish()
	told(t, err, "bad-output", "column `a` was not written")
}

func TestWrongKindsAndShortBlocksAreProblems(t *testing.T) {
	schema, block := everyKind(), built(t)
	_, err := block.Float64(schema, 1)
	told(t, err, "wrong-kind", "column `t` is utf8, not float64")
	_, err = block.Text(schema, 4)
	told(t, err, "wrong-kind", "column `raw` is binary, not utf8")
	_, err = block.Numbers(schema, 4)
	told(t, err, "wrong-kind", "column `raw` is binary, not a number")
	_, err = block.Floats(schema, 8)
	told(t, err, "unknown-column", "column 8 of 8")
	_, err = block.Float64(schema, 8)
	told(t, err, "unknown-column", "column 8 of 8")
	block.Bytes[0] = 0xff
	_, err = block.Text(schema, 1)
	told(t, err, "bad-block", "text is not UTF-8")
	block.Offsets[1] = 9
	_, err = block.Text(schema, 1)
	told(t, err, "bad-block", "the block does not fit its schema at column `t`")
	block.Rows = 30
	_, err = block.Float64(schema, 0)
	told(t, err, "bad-block", "the block does not fit its schema at column `a`")
	_, err = block.Valid(schema, 1)
	told(t, err, "bad-block", "the block does not fit its schema at column `t`")
}

func TestColumnsAreFoundOrGuessed(t *testing.T) {
	schema := NewSchema(Field{"account_length", Float64, false}, Field{"churn", Utf8, false}, Field{"x", Float64, false})
	_, err := schema.Column("acount_lenght")
	told(t, err, "unknown-column", "unknown column `acount_lenght`, did you mean `account_length`?")
	columns, err := schema.Columns(nil, Float64)
	equal(t, columns, err, 0, 2)
	columns, err = schema.Columns([]string{"x", "account_length"}, Float64)
	equal(t, columns, err, 2, 0)
	columns, err = schema.Columns([]string{}, Float64)
	equal(t, columns, err)
	_, err = schema.Columns([]string{"churn"}, Float64)
	told(t, err, "wrong-kind", "column `churn` is utf8, not float64: cast it first")
	_, err = schema.Columns([]string{"zzz", "x", "x"}, Float64)
	told(t, err, "bad-options", "option `columns`: `x` is in it twice")
}
