package plinth

import "testing"

type bounds struct {
	Min float64 `json:"min" doc:"Lower values become this"`
	Max float64 `json:"max"`
}

var clip = Transforms{NewMap("clip", "Holds numbers within a range", func(options bounds) func(float64) float64 {
	return func(value float64) float64 { return max(options.Min, min(options.Max, value)) }
})}

func TestAMapChangesTheColumnsItIsGiven(t *testing.T) {
	schema := NewSchema(Field{"x", Float64, true}, Field{"name", Utf8, false}, Field{"y", Float64, false})
	apply := func(options string) []float64 {
		t.Helper()
		fitting, err := clip.Start("clip", schema, options)
		if err != nil {
			t.Fatal(err)
		}
		state, err := fitting.EndPass()
		if err != nil {
			t.Fatal(err)
		}
		fitted, err := clip.Load("clip", state, schema)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := NewBuilder(schema, 2).Float64([]float64{-5, 0}, []byte{0b01}).Text([]string{"", ""}, nil).
			Float64([]float64{9, 2}, nil).Finish()
		if err != nil {
			t.Fatal(err)
		}
		if rows, err = fitted.Apply(rows); err != nil {
			t.Fatal(err)
		}
		return rows.F64s
	}
	equal(t, apply(`{"min": 1, "max": 3}`), nil, 1, 0, 3, 2)
	equal(t, apply(`{"min": 1, "max": 3, "columns": ["y"]}`), nil, -5, 0, 3, 2)
	_, err := clip.Start("clip", schema, `{"min": 1}`)
	told(t, err, "bad-options", "option `max`: it is missing")
	_, err = clip.Start("clip", schema, `{"min": 1, "max": 2, "columns": ["name"]}`)
	told(t, err, "wrong-kind", "column `name` is utf8, not float64: cast it first")
	_, err = clip.Start("clpi", schema, `{}`)
	told(t, err, "unknown-item", "this component has no `clpi`")
	_, err = clip.Start("clips", schema, `{}`)
	told(t, err, "unknown-item", "this component has no `clips`, did you mean `clip`?")
}

type never struct{}

func (never) Test(*Schema, *Block, *Block, NoOptions) (*Outcome, error) { return &Outcome{}, nil }

func TestADriftTestGetsWhatItCanCompare(t *testing.T) {
	tests := DriftTests{NewDriftTest("never", "Nothing drifts", Numeric, never{})}
	_, err := tests.Test("never", NewSchema(Field{"t", Utf8, false}), &Block{}, &Block{}, "{}")
	told(t, err, "wrong-kind", "`never` does not compare utf8 columns such as `t`")
	_, err = tests.Test("never", NewSchema(Field{"x", Float64, false}, Field{"y", Float64, false}), &Block{}, &Block{}, "")
	told(t, err, "wrong-columns", "`never` compares one column, 2 were given")
	_, err = tests.Test("never", NewSchema(Field{"x", Float64, false}), &Block{}, &Block{}, `{"a": 1}`)
	told(t, err, "bad-options", "unknown option `a`")
}

// constant predicts its artifact, for every row and plus an option.
type constant struct {
	output *Schema
	value  float64
}

type plus struct {
	Plus float64 `json:"plus" default:"0"`
}

func (constant) Load(artifact []byte, input *Schema, options plus) (Predictor, error) {
	if len(artifact) != 1 {
		return nil, Errorf("bad-artifact", "%d bytes", len(artifact))
	}
	return constant{NewSchema(Field{input.Fields[0].Name, Float64, false}), float64(artifact[0]) + options.Plus}, nil
}

func (c constant) Output() *Schema { return c.output }

func (c constant) Predict(rows *Block) (*Block, error) {
	values := make([]float64, rows.Rows)
	for row := range values {
		values[row] = c.value
	}
	return NewBuilder(c.output, len(values)).Float64(values, nil).Finish()
}

func TestAModelIsLoadedOnceAndPredicts(t *testing.T) {
	models := Models{NewModel("constant", "Always the same", constant{})}
	schema := NewSchema(Field{"x", Float64, false})
	model, err := models.Load("constant", []byte{7}, schema, `{"plus": 0.5}`)
	if err != nil {
		t.Fatal(err)
	}
	for rows := range 3 {
		predicted, err := model.Predict(&Block{Rows: uint32(rows), F64s: make([]float64, rows)})
		if err != nil || int(predicted.Rows) != rows {
			t.Fatal(predicted, err)
		}
		values, err := predicted.Float64(model.Output(), 0)
		equal(t, values, err, []float64{7.5, 7.5}[:rows]...)
	}
	if item := models[0].Item; item.OptionsSchema != `{"type":"object","properties":{"plus":{"type":"number","default":0}},"additionalProperties":false}` {
		t.Error(item.OptionsSchema)
	}
	_, err = models.Load("constant", nil, schema, "")
	told(t, err, "bad-artifact", "0 bytes")
	_, err = models.Load("constant", nil, schema, `{"pluss": 1}`)
	told(t, err, "bad-options", "unknown option `pluss`, did you mean `plus`?")
	_, err = models.Load("constants", nil, schema, "")
	told(t, err, "unknown-item", "this component has no `constants`, did you mean `constant`?")
}

func TestProblemsSayWhere(t *testing.T) {
	err := Errorf("bad-value", "`%s` is no int64", "x").InColumn("n").AtRow(3).Again()
	if err.Error() != "bad-value: `x` is no int64 (column `n`) (row 3)" || !err.Retryable {
		t.Error(err)
	}
}
