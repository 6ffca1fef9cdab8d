// A drift test: the population stability index over quantile bins of the reference.
package main

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/drift"
)

func init() {
	test := plinth.NewDriftTest("psi", "Population stability index over quantile bins of the reference", plinth.Numeric, PSI{})
	test.Effect = "the index itself"
	drift.Export(test)
}

func main() {}

// PSI is the drift test.
type PSI struct{}

// Options is what it takes.
type Options struct {
	Bins      int     `json:"bins" default:"10" min:"2" max:"1000"`
	Threshold float64 `json:"threshold" default:"0.1" above:"0"`
	RowsMin   int64   `json:"rows-min" default:"30" min:"1"`
}

// Test compares two samples of one column.
func (PSI) Test(schema *plinth.Schema, reference, current *plinth.Block, options Options) (*plinth.Outcome, error) {
	before, err := usable(schema, reference)
	if err != nil {
		return nil, err
	}
	now, err := usable(schema, current)
	if err != nil {
		return nil, err
	}
	outcome := &plinth.Outcome{
		Threshold:  options.Threshold,
		Verdict:    plinth.Inconclusive,
		NReference: uint64(len(before)),
		NCurrent:   uint64(len(now)),
	}
	few := func(side string, values []float64) bool {
		outcome.Note = fmt.Sprintf("the %s has %d usable rows; a verdict needs %d", side, len(values), options.RowsMin)
		return int64(len(values)) < options.RowsMin
	}
	if few("reference", before) || few("current sample", now) {
		return outcome, nil
	}
	outcome.Note = ""
	outcome.Statistic = index(before, now, quantiles(before, options.Bins))
	outcome.EffectSize = &outcome.Statistic
	outcome.Verdict = plinth.NoDrift
	if outcome.Statistic >= options.Threshold {
		outcome.Verdict = plinth.Drift
	}
	return outcome, nil
}

// usable is the values that count: not null, not NaN.
func usable(schema *plinth.Schema, rows *plinth.Block) ([]float64, error) {
	numbers, err := rows.Numbers(schema, 0)
	if err != nil {
		return nil, err
	}
	values := make([]float64, 0, rows.Rows)
	for value, valid := range numbers {
		if valid && !math.IsNaN(value) {
			values = append(values, value)
		}
	}
	return values, nil
}

// quantiles is the bounds between bins, each once. It sorts the sample.
func quantiles(sample []float64, bins int) []float64 {
	slices.Sort(sample)
	edges := make([]float64, 0, bins)
	for i := 1; i < bins; i++ {
		edges = append(edges, sample[i*len(sample)/bins])
	}
	return slices.Compact(edges)
}

// histogram is how many values are in each bin. A value's bin is the number of edges that are not above it.
func histogram(values, edges []float64) []float64 {
	counts := make([]float64, len(edges)+1)
	for _, value := range values {
		counts[sort.Search(len(edges), func(i int) bool { return edges[i] > value })]++
	}
	return counts
}

// Each product is converted before it is added to something: on some processors Go would else fuse the two, and results
// would differ from machine to machine.

func index(reference, current, edges []float64) float64 {
	r, c := histogram(reference, edges), histogram(current, edges)
	// Half a row more in every bin keeps the index finite where one side has none.
	extra := 0.0
	if slices.Contains(r, 0) || slices.Contains(c, 0) {
		extra = 0.5
	}
	more := float64(extra * float64(len(r)))
	n, m := float64(len(reference))+more, float64(len(current))+more
	sum := 0.0
	for bin := range r {
		p, q := (r[bin]+extra)/n, (c[bin]+extra)/m
		sum += float64((q - p) * ln(q/p))
	}
	return sum
}

// ln is the natural logarithm, out of + - * and / only: so it is the same to the last bit in every language.
func ln(x float64) float64 {
	f, exponent := math.Frexp(x)
	if f < 0.7071067811865476 {
		f *= 2
		exponent--
	}
	s := (f - 1) / (f + 1)
	z := s * s
	t := 1.0 / 23
	for k := 21; k >= 1; k -= 2 {
		t = float64(t*z) + 1/float64(k)
	}
	return float64(2*s*t) + float64(float64(exponent)*0.6931471805599453)
}
