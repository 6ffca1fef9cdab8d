//go:build wasip1

// Package export_plinth_gate_gate is what the host calls of gates.
package export_plinth_gate_gate

import (
	"github.com/plinth-ml/plinth/sdk/go"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/bridge"
	wit "github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_gate_gate"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_types_types"
)

// Items is what the component exports.
var Items plinth.Gates

func Describe() []plinth_types_types.Item {
	return bridge.Items(Items, func(item plinth.GateItem) plinth.Item { return item.Item })
}

func Evaluate(name string, evidence wit.Evidence, options string) witTypes.Result[[]wit.Check, plinth_types_types.Problem] {
	bridge.Enter()
	given := plinth.Evidence{Candidate: *subject(&evidence.Candidate)}
	if baseline := evidence.Baseline.Pointer(); baseline != nil {
		given.Baseline = subject(baseline)
	}
	found, err := Items.Evaluate(name, &given, options)
	checks := make([]wit.Check, len(found))
	for index, check := range found {
		checks[index] = wit.Check{
			Name:     check.Name,
			Outcome:  uint8(check.Outcome),
			Observed: check.Observed,
			Expected: check.Expected,
			Reason:   check.Reason,
		}
	}
	return bridge.Result(checks, err)
}

func subject(from *wit.Subject) *plinth.Subject {
	to := &plinth.Subject{
		Reference: from.Reference,
		Metrics:   make([]plinth.Metric, len(from.Metrics)),
		Tags:      make([][2]string, len(from.Tags)),
	}
	for index, metric := range from.Metrics {
		to.Metrics[index] = plinth.Metric{
			Name:  metric.Name,
			Value: metric.Value,
			Slice: metric.Slice.Pointer(),
			N:     metric.N.Pointer(),
		}
	}
	for index, tag := range from.Tags {
		to.Tags[index] = [2]string{tag.F0, tag.F1}
	}
	return to
}
