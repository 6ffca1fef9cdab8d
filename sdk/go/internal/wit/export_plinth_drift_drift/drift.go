//go:build wasip1

// Package export_plinth_drift_drift is what the host calls of drift tests.
package export_plinth_drift_drift

import (
	"github.com/plinth-ml/plinth/sdk/go"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/bridge"
	wit "github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_drift_drift"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_types_types"
)

// Items is what the component exports.
var Items plinth.DriftTests

func Describe() []wit.TestItem {
	items := make([]wit.TestItem, len(Items))
	for index, item := range Items {
		kinds := make([]uint8, len(item.Kinds))
		for index, kind := range item.Kinds {
			kinds[index] = uint8(kind)
		}
		items[index] = wit.TestItem{
			Item:         plinth_types_types.Item(item.Item),
			Kinds:        kinds,
			Multivariate: item.Multivariate,
			Effect:       witTypes.None[string](),
		}
		if item.Effect != "" {
			items[index].Effect = witTypes.Some(item.Effect)
		}
	}
	return items
}

func Test(name string, schema plinth_types_types.Schema, reference, current plinth_types_types.Block, options string) witTypes.Result[wit.Outcome, plinth_types_types.Problem] {
	bridge.Enter()
	outcome, err := Items.Test(name, bridge.Schema(schema), (*plinth.Block)(&reference), (*plinth.Block)(&current), options)
	if err != nil {
		return bridge.Result(wit.Outcome{}, err)
	}
	note := witTypes.None[string]()
	if outcome.Note != "" {
		note = witTypes.Some(outcome.Note)
	}
	return bridge.Result(wit.Outcome{
		Statistic:  outcome.Statistic,
		PValue:     witTypes.FromPointer(outcome.PValue),
		EffectSize: witTypes.FromPointer(outcome.EffectSize),
		Threshold:  outcome.Threshold,
		Verdict:    uint8(outcome.Verdict),
		NReference: outcome.NReference,
		NCurrent:   outcome.NCurrent,
		Note:       note,
	}, nil)
}
