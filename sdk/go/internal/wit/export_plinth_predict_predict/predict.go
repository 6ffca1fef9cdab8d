//go:build wasip1

// Package export_plinth_predict_predict is what the host calls of models.
package export_plinth_predict_predict

import (
	"runtime"

	"github.com/plinth-ml/plinth/sdk/go"
	abi "github.com/plinth-ml/plinth/sdk/go/internal/abi/runtime"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/bridge"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_types_types"
)

// Items is what the component exports.
var Items plinth.Models

func Describe() []plinth_types_types.Item {
	return bridge.Items(Items, func(item plinth.ModelItem) plinth.Item { return item.Item })
}

type Model struct {
	pinner runtime.Pinner
	handle int32
	own    plinth.Predictor
}

func (m *Model) OnDrop() { abi.Forget(m) }

func ModelLoad(name string, artifact []uint8, input plinth_types_types.Schema, options string) witTypes.Result[*Model, plinth_types_types.Problem] {
	bridge.Enter()
	own, err := Items.Load(name, artifact, bridge.Schema(input), options)
	model := &Model{own: own}
	if err == nil {
		abi.Keep(model)
	}
	return bridge.Result(model, err)
}

func (m *Model) Output() plinth_types_types.Schema { return bridge.ToSchema(m.own.Output()) }

func (m *Model) Predict(rows plinth_types_types.Block) witTypes.Result[plinth_types_types.Block, plinth_types_types.Problem] {
	bridge.Enter()
	return bridge.Block(m.own.Predict((*plinth.Block)(&rows)))
}
