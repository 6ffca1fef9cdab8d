package main

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/gate"
)

var evidence = &plinth.Evidence{Candidate: plinth.Subject{Reference: "models:/churn/3", Metrics: []plinth.Metric{
	{Name: "f1", Value: 0.875},
	{Name: "f1", Value: 0.5, Slice: plinth.Of("state=KS")},
	{Name: "auc", Value: math.NaN()},
}}}

func TestEachRuleIsOneCheckThatSaysWhatItSaw(t *testing.T) {
	checks, err := gate.Exported.Evaluate("threshold", evidence, `{"thresholds": [
		{"metric": "f1", "min": 0.8}, {"metric": "f1", "min": 0.6, "max": 1, "slice": "state=KS"},
		{"metric": "auc", "max": 1e21}, {"metric": "rmse", "max": 1}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []plinth.Check{
		{Name: "f1", Outcome: plinth.Pass, Observed: "0.875", Expected: "at least 0.8"},
		{Name: "f1 in state=KS", Outcome: plinth.Fail, Observed: "0.5", Expected: "0.6 to 1"},
		{Name: "auc", Outcome: plinth.Fail, Observed: "NaN", Expected: "at most 1e+21"},
		{Name: "rmse", Outcome: plinth.Fail, Observed: "not measured", Expected: "at most 1",
			Reason: "the metric is not among those of models:/churn/3"},
	}
	if !slices.Equal(checks, want) {
		t.Errorf("%+v", checks)
	}
}

func TestARuleWithoutABoundAndNoRuleAtAllAreTold(t *testing.T) {
	for options, message := range map[string]string{
		`{"thresholds": [{"metric": "f1"}]}`: "the threshold of `f1` has no bound: give min, max or both",
		`{"thresholds": []}`:                 "option `thresholds`: its length is 0; it must be at least 1",
		`{}`:                                 "option `thresholds`: it is missing",
		`{"thresholds": [{"min": 1}]}`:       "option `thresholds[0].metric`: it is missing",
		`{"thresholds": [{"metric": "a", "maxx": 1}]}`:    "unknown option `thresholds[0].maxx`, did you mean `max`?",
		`{"thresholds": [{"metric": "a", "Min": 1}]}`:     "unknown option `thresholds[0].Min`, did you mean `min`?",
		`{"thresholds": [{"metric": "a", "min": "low"}]}`: "option `thresholds[0].min`: it is a text, and a number is wanted",
	} {
		_, err := gate.Exported.Evaluate("threshold", evidence, options)
		var problem *plinth.Problem
		if !errors.As(err, &problem) || problem.Code != "bad-options" || problem.Message != message {
			t.Errorf("%s: %v", options, err)
		}
	}
}
