package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/transform"
)

var schema = plinth.NewSchema(plinth.Field{Name: "name", Kind: plinth.Utf8},
	plinth.Field{Name: "x", Kind: plinth.Float64, Nullable: true})

func rows(t *testing.T, values []float64, valid byte) *plinth.Block {
	t.Helper()
	builder := plinth.NewBuilder(schema, len(values))
	block, err := builder.Text(make([]string, len(values)), nil).Float64(slices.Clone(values), []byte{valid}).Finish()
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func start(t *testing.T, options string) plinth.Fitting {
	t.Helper()
	fitting, err := transform.Exported.Start("standard-scale", schema, options)
	if err != nil {
		t.Fatal(err)
	}
	return fitting
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func done(err error) {
	if err != nil {
		panic(err)
	}
}

func TestValuesAreScaledTheSameHoweverRowsWereSpreadOverFits(t *testing.T) {
	first, second := start(t, "{}"), start(t, `{"columns": ["x"]}`)
	done(first.Update(rows(t, []float64{1, 2, 99}, 0b011)))
	done(second.Update(rows(t, []float64{3, math.NaN(), 4}, 0b111)))
	done(first.Merge(must(second.Partial())))
	state := must(first.EndPass())
	if len(state) != 20 {
		t.Errorf("a state of %d bytes", len(state))
	}
	fitted := must(transform.Exported.Load("standard-scale", state, schema))
	scaled := must(fitted.Apply(rows(t, []float64{2.5, 99, 4}, 0b101)))
	if want := []float64{0, 0, 1.5 / math.Sqrt(1.25)}; !slices.Equal(scaled.F64s, want) {
		t.Errorf("%v, not %v", scaled.F64s, want)
	}
	if math.Signbit(scaled.F64s[1]) {
		t.Error("the slot of a null holds -0")
	}
	if fitted.Output() != schema {
		t.Error("another schema comes out")
	}
}

func TestPartialsAndStatesAreTheSameBytesInEveryLanguage(t *testing.T) {
	first, second := start(t, "{}"), start(t, "{}")
	done(first.Update(rows(t, []float64{0.1, 0.2, 99, math.NaN(), 0.3, 1e10}, 0b111011)))
	done(second.Update(rows(t, []float64{0.7, -5e-324, 1e-3}, 0b111)))
	partial := must(second.Partial())
	done(first.Merge(partial))
	for _, each := range []struct {
		bytes []byte
		hex   string
	}{
		{partial, "00000000000008404ed4bf11cae8cd3f1c12d1c278e0d43f"},
		{must(first.Partial()), "0000000000001c405e7730499149d5411e4be14219961244"},
		{must(first.EndPass()), "010000005e7730499149d541d85fa1725412ea41"},
	} {
		if hex := fmt.Sprintf("%x", each.bytes); hex != each.hex {
			t.Errorf("%s, not %s", hex, each.hex)
		}
	}
}

func TestAColumnWithoutSpreadIsOnlyCentred(t *testing.T) {
	fitting := start(t, "{}")
	done(fitting.Update(rows(t, []float64{5, 5}, 0b11)))
	fitted := must(transform.Exported.Load("standard-scale", must(fitting.EndPass()), schema))
	if scaled := must(fitted.Apply(rows(t, []float64{5, 7}, 0b11))); !slices.Equal(scaled.F64s, []float64{0, 2}) {
		t.Error(scaled.F64s)
	}
}

func TestWhatCannotBeDoneIsTold(t *testing.T) {
	check := func(err error, code, column string) {
		t.Helper()
		var problem *plinth.Problem
		if !errors.As(err, &problem) || problem.Code != code || problem.Column != column {
			t.Errorf("%v, not %s of `%s`", err, code, column)
		}
	}
	for _, each := range [][3]string{
		{`{"columns": ["name"]}`, "wrong-kind", "name"},
		{`{"columns": ["y"]}`, "unknown-column", "y"},
		{`{"columns": ["y", "y"]}`, "bad-options", ""},
		{`{"column": []}`, "bad-options", ""},
	} {
		_, err := transform.Exported.Start("standard-scale", schema, each[0])
		check(err, each[1], each[2])
	}
	for _, state := range [][]byte{make([]byte, 19), make([]byte, 20), append([]byte{2}, make([]byte, 19)...)} {
		_, err := transform.Exported.Load("standard-scale", state, schema)
		check(err, "bad-state", "")
	}
	check(start(t, "{}").Merge(make([]byte, 23)), "bad-partial", "")
}
