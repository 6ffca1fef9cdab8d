package main

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/predict"
)

const artifact = `{"intercept": 0.5, "coefficients": [{"column": "x", "value": 2}, {"column": "n", "value": -1}]}`

var schema = plinth.NewSchema(plinth.Field{Name: "name", Kind: plinth.Utf8},
	plinth.Field{Name: "x", Kind: plinth.Float64, Nullable: true}, plinth.Field{Name: "n", Kind: plinth.Int64})

func load(t *testing.T, options string) plinth.Predictor {
	t.Helper()
	model, err := predict.Exported.Load("linear-model", []byte(artifact), schema, options)
	if err != nil {
		t.Fatal(err)
	}
	return model
}

func predicted(t *testing.T, model plinth.Predictor) *plinth.Block {
	t.Helper()
	rows, err := plinth.NewBuilder(schema, 3).Text([]string{"a", "b", "c"}, nil).
		Float64([]float64{1, 9, -0.25}, []byte{0b101}).Int64([]int64{1, 2, 0}, nil).Finish()
	if err != nil {
		t.Fatal(err)
	}
	if rows, err = model.Predict(rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestARowIsPredictedUnlessAValueIsNull(t *testing.T) {
	model := load(t, "{}")
	want := []plinth.Field{{Name: "prediction", Kind: plinth.Float64, Nullable: true}}
	if fields := model.Output().Fields; !slices.Equal(fields, want) {
		t.Errorf("%+v", fields)
	}
	rows := predicted(t, model)
	if !slices.Equal(rows.F64s, []float64{1.5, 0, 0}) || !slices.Equal(rows.Validity, []byte{0b101}) {
		t.Errorf("%+v", rows)
	}
}

func TestOptionsNameTheColumnAndMakeProbabilities(t *testing.T) {
	model := load(t, `{"output": "p", "link": "logistic"}`)
	if name := model.Output().Fields[0].Name; name != "p" {
		t.Error(name)
	}
	if rows := predicted(t, model); rows.F64s[2] != 0.5 {
		t.Error(rows.F64s)
	}
}

func TestWhatDoesNotFitIsTold(t *testing.T) {
	check := func(artifact, options string, schema *plinth.Schema, code, column, message string) {
		t.Helper()
		_, err := predict.Exported.Load("linear-model", []byte(artifact), schema, options)
		var problem *plinth.Problem
		if !errors.As(err, &problem) || problem.Code != code || problem.Column != column || problem.Message != message {
			t.Errorf("%v, not %s of `%s`: %s", err, code, column, message)
		}
	}
	for given, why := range map[string]string{
		``:                                "unexpected end of JSON input",
		`{}`:                              "`coefficients`: it is missing",
		"\xff":                            "it is not UTF-8",
		`{"coefficients": [], "bias": 1}`: "unknown name `bias`",
		`{"intercept": null, "coefficients": []}`:       "`intercept`: it is null",
		`{"coefficients": [{"column": "x"}]}`:           "`coefficients[0].value`: it is missing",
		`{"coefficients": [{"column": 1, "value": 1}]}`: "`coefficients[0].column`: it is a number, and a text is wanted",
	} {
		check(given, "{}", schema, "bad-artifact", "",
			`the artifact is no {"intercept": 0.5, "coefficients": [...]}: `+why)
	}
	check(artifact, "{}", &plinth.Schema{}, "unknown-column", "x", "unknown column `x`")
	for kind, name := range map[plinth.Kind]string{plinth.Utf8: "utf8", plinth.TimestampUs: "timestamp-us"} {
		check(artifact, "{}", plinth.NewSchema(plinth.Field{Name: "x", Kind: kind}), "wrong-kind", "x",
			"column `x` is "+name+", which is no number")
	}
	check(artifact, `{"output": ""}`, schema, "bad-options", "", "option `output`: its length is 0; it must be at least 1")
	check(artifact, `{"link": "probit"}`, schema, "bad-options", "",
		"option `link`: it is `probit`; it must be one of identity,logistic")
}

func TestExpIsTheSameBitsInEveryLanguage(t *testing.T) {
	for x, want := range map[float64]uint64{
		0: 0x3ff0000000000000, 1: 0x4005bf0a8b14576a, -1: 0x3fd78b56362cef38, 0.3465735912322998: 0x3ff6a09e66dbc8da,
		1e-9: 0x3ff000000044b830, 700: 0x7f0d945df4f8ec8e, -708.5: 0x000e6cf6d08897ac, -745: 0x0000000000000001,
		709.782712893384: 0x7fefffffffffff2a, 710: 0x7ff0000000000000, -746: 0,
	} {
		if bits := math.Float64bits(exp(x)); bits != want {
			t.Errorf("exp(%v) is %016x, not %016x", x, bits, want)
		}
	}
	if !math.IsNaN(exp(math.NaN())) || exp(math.Inf(-1)) != 0 {
		t.Error("what is no finite number is not handed on")
	}
}
