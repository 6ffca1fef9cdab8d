// A model: intercept + sum of coefficient * value, with the coefficients as its artifact.
package main

import (
	"slices"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/predict"
)

func init() {
	predict.Export(plinth.NewModel("linear-model",
		"A linear or logistic model whose coefficients are its artifact", LinearModel{}))
}

func main() {}

// LinearModel is the kind of model.
type LinearModel struct{}

// Options is what it takes.
type Options struct {
	Output string `json:"output" default:"prediction" min:"1" doc:"Name of the column of predictions"`
	Link   string `json:"link" default:"identity" enum:"identity,logistic" doc:"What becomes of the sum: itself, or a probability"`
}

// Artifact is what is registered with a model version, as JSON.
type Artifact struct {
	Intercept    float64 `json:"intercept" default:"0"`
	Coefficients []struct {
		Column string  `json:"column"`
		Value  float64 `json:"value"`
	} `json:"coefficients"`
}

// Load binds the artifact to the columns of the rows to come.
func (LinearModel) Load(bytes []byte, input *plinth.Schema, options Options) (plinth.Predictor, error) {
	artifact, err := plinth.ParseJSON[Artifact](bytes)
	if err != nil {
		return nil, plinth.Errorf("bad-artifact", `the artifact is no {"intercept": 0.5, "coefficients": [...]}: %v`, err)
	}
	model := &linear{input: input, intercept: artifact.Intercept, logistic: options.Link == "logistic"}
	nullable := false
	for _, coefficient := range artifact.Coefficients {
		column, err := input.Column(coefficient.Column)
		if err != nil {
			return nil, err
		}
		field := input.Fields[column]
		if !slices.Contains(plinth.Numeric, field.Kind) {
			return nil, plinth.Errorf("wrong-kind", "column `%s` is %s, which is no number", field.Name, field.Kind).
				InColumn(field.Name)
		}
		nullable = nullable || field.Nullable
		model.terms = append(model.terms, term{column, coefficient.Value})
	}
	model.output = plinth.NewSchema(plinth.Field{Name: options.Output, Kind: plinth.Float64, Nullable: nullable})
	return model, nil
}

// term is where a column stands, and what its values are multiplied by.
type term struct {
	column      int
	coefficient float64
}

// linear is the model, bound to columns.
type linear struct {
	input, output *plinth.Schema
	intercept     float64
	terms         []term
	logistic      bool
}

func (l *linear) Output() *plinth.Schema { return l.output }

// Predict goes column by column. Sums are in the order of the artifact, so that the same rows are the same bits on every
// machine; a row in which a value is null has no prediction.
func (l *linear) Predict(rows *plinth.Block) (*plinth.Block, error) {
	sums := make([]float64, rows.Rows)
	for row := range sums {
		sums[row] = l.intercept
	}
	var known []byte // nil while no row lacks a value
	for _, term := range l.terms {
		values, err := rows.Floats(l.input, term.column)
		if err != nil {
			return nil, err
		}
		for row, value := range values {
			// The product is converted before it is added: on some processors Go would else fuse the two.
			sums[row] += float64(term.coefficient * value)
		}
		valid, err := rows.Valid(l.input, term.column)
		if err != nil {
			return nil, err
		}
		known = both(known, valid.Bitmap())
	}
	if l.logistic {
		for row, sum := range sums {
			sums[row] = 1 / (1 + exp(-sum))
		}
	}
	return plinth.NewBuilder(l.output, len(sums)).Float64(sums, known).Finish()
}

// both is the rows that two bitmaps have, of which nil has all.
func both(left, right []byte) []byte {
	if left == nil {
		return slices.Clone(right)
	}
	for index, bits := range right {
		left[index] &= bits
	}
	return left
}
