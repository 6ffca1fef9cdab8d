// A gate: metrics of the candidate within bounds.
package main

import (
	"math"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/gate"
)

func init() {
	gate.Export(plinth.NewGate("threshold", "Metrics of the candidate within bounds", Threshold{}))
}

func main() {}

// Threshold is the gate.
type Threshold struct{}

// Options is what it takes.
type Options struct {
	Thresholds []Rule `json:"thresholds" min:"1"`
}

// Rule is what one metric has to be.
type Rule struct {
	Metric string   `json:"metric"`
	Min    *float64 `json:"min"`
	Max    *float64 `json:"max"`
	Slice  *string  `json:"slice"`
}

// Evaluate judges the candidate: one check for each rule.
func (Threshold) Evaluate(evidence *plinth.Evidence, options Options) ([]plinth.Check, error) {
	checks := make([]plinth.Check, len(options.Thresholds))
	for index, rule := range options.Thresholds {
		expected, err := rule.expected()
		if err != nil {
			return nil, err
		}
		checks[index] = rule.check(&evidence.Candidate, expected)
	}
	return checks, nil
}

func (r Rule) check(candidate *plinth.Subject, expected string) plinth.Check {
	check := plinth.Check{Name: r.Metric, Outcome: plinth.Fail, Expected: expected}
	metric := candidate.Metric(r.Metric)
	if r.Slice != nil {
		check.Name = r.Metric + " in " + *r.Slice
		metric = candidate.Metric(r.Metric, *r.Slice)
	}
	if metric == nil {
		check.Observed = "not measured"
		check.Reason = "the metric is not among those of " + candidate.Reference
		return check
	}
	check.Observed = plinth.Number(metric.Value)
	if r.holds(metric.Value) {
		check.Outcome = plinth.Pass
	}
	return check
}

// holds tells whether a value is within the bounds; NaN is not.
func (r Rule) holds(value float64) bool {
	return !math.IsNaN(value) && (r.Min == nil || value >= *r.Min) && (r.Max == nil || value <= *r.Max)
}

// expected is "at least 0.8", "at most 3" or "0.8 to 3".
func (r Rule) expected() (string, error) {
	switch {
	case r.Min != nil && r.Max != nil:
		return plinth.Number(*r.Min) + " to " + plinth.Number(*r.Max), nil
	case r.Min != nil:
		return "at least " + plinth.Number(*r.Min), nil
	case r.Max != nil:
		return "at most " + plinth.Number(*r.Max), nil
	default:
		return "", plinth.Errorf("bad-options", "the threshold of `%s` has no bound: give min, max or both", r.Metric)
	}
}
