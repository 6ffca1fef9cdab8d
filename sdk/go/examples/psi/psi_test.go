package main

import (
	"errors"
	"math"
	"testing"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/drift"
)

func psi(t *testing.T, reference, current []float64, options string) *plinth.Outcome {
	t.Helper()
	schema := plinth.NewSchema(plinth.Field{Name: "x", Kind: plinth.Float64})
	block := func(values []float64) *plinth.Block { return &plinth.Block{Rows: uint32(len(values)), F64s: values} }
	outcome, err := drift.Exported.Test("psi", schema, block(reference), block(current), options)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func sawtooth(shift int) []float64 {
	values := make([]float64, 200)
	for row := range values {
		values[row] = float64(row%50 + shift)
	}
	return values
}

func TestAShiftIsDriftAndTheSameRowsAreNone(t *testing.T) {
	same := psi(t, sawtooth(0), sawtooth(0), "{}")
	if same.Verdict != plinth.NoDrift || same.Statistic != 0 || same.NCurrent != 200 || same.Note != "" {
		t.Errorf("%+v", same)
	}
	moved := psi(t, sawtooth(0), sawtooth(15), `{"bins": 4.0}`)
	// Against the library's logarithm. Bins hold 48, 52, 48, 52 and 0, 40, 48, 112 of 200, and half a row more.
	want := 0.0
	for _, bin := range [][2]float64{{48, 0}, {52, 40}, {48, 48}, {52, 112}} {
		p, q := (bin[0]+0.5)/202, (bin[1]+0.5)/202
		want += (q - p) * math.Log(q/p)
	}
	if math.Abs(moved.Statistic-want) > 1e-12 || moved.Verdict != plinth.Drift || *moved.EffectSize != moved.Statistic {
		t.Errorf("%+v, not %v", moved, want)
	}
}

func TestEqualValuesShareABin(t *testing.T) {
	minus := math.Copysign(0, -1)
	outcome := psi(t, []float64{0, minus, 0, 1}, []float64{minus, 0, 1, math.NaN()}, `{"rows-min": 3}`)
	// Edges are 0 and 1: no value lies below 0, so the first bin is empty.
	want := 0.0
	for _, bin := range [][2]float64{{0, 0}, {3, 2}, {1, 1}} {
		p, q := (bin[0]+0.5)/5.5, (bin[1]+0.5)/4.5
		want += (q - p) * math.Log(q/p)
	}
	if outcome.NCurrent != 3 || math.Abs(outcome.Statistic-want) > 1e-12 {
		t.Errorf("%+v, not %v", outcome, want)
	}
}

func TestTooFewRowsAreNoVerdict(t *testing.T) {
	few := psi(t, []float64{1, 1, 1}, nil, "{}")
	if few.Note != "the reference has 3 usable rows; a verdict needs 30" || few.Verdict != plinth.Inconclusive ||
		few.EffectSize != nil || few.Statistic != 0 {
		t.Errorf("%+v", few)
	}
	few = psi(t, sawtooth(0), []float64{1}, "{}")
	if few.Note != "the current sample has 1 usable rows; a verdict needs 30" {
		t.Error(few.Note)
	}
}

func TestOptionsOutOfRangeAreTold(t *testing.T) {
	schema := plinth.NewSchema(plinth.Field{Name: "x", Kind: plinth.Float64})
	for _, options := range []string{
		`{"bins": 1}`, `{"bins": 1001}`, `{"bins": 2.5}`, `{"threshold": 0}`, `{"rows-min": 0}`, `{"rows": 1}`,
	} {
		_, err := drift.Exported.Test("psi", schema, &plinth.Block{}, &plinth.Block{}, options)
		var problem *plinth.Problem
		if !errors.As(err, &problem) || problem.Code != "bad-options" {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func TestTheLogarithmIsRightToTheLastBits(t *testing.T) {
	for _, x := range []float64{1e-9, 0.3, 0.5, 0.7071067811865476, 1, 1.5, 2, 3, 1234.5, 1e300} {
		if want := math.Log(x); math.Abs(ln(x)-want) > math.Abs(want)*4e-16 {
			t.Errorf("ln(%v) is %v, not %v", x, ln(x), want)
		}
	}
}
