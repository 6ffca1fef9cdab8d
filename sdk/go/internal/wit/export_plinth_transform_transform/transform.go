//go:build wasip1

// Package export_plinth_transform_transform is what the host calls of transforms.
package export_plinth_transform_transform

import (
	"errors"
	"runtime"

	"github.com/plinth-ml/plinth/sdk/go"
	abi "github.com/plinth-ml/plinth/sdk/go/internal/abi/runtime"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/bridge"
	wit "github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_transform_transform"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_types_types"
)

// Items is what the component exports.
var Items plinth.Transforms

func Describe() []plinth_types_types.Item {
	return bridge.Items(Items, func(item plinth.TransformItem) plinth.Item { return item.Item })
}

type Fitting struct {
	pinner runtime.Pinner
	handle int32
	own    plinth.Fitting
}

func (f *Fitting) OnDrop() { abi.Forget(f) }

func FittingStart(name string, input plinth_types_types.Schema, options string) witTypes.Result[*Fitting, plinth_types_types.Problem] {
	bridge.Enter()
	own, err := Items.Start(name, bridge.Schema(input), options)
	fitting := &Fitting{own: own}
	if err == nil {
		abi.Keep(fitting)
	}
	return bridge.Result(fitting, err)
}

func (f *Fitting) Update(rows plinth_types_types.Block) witTypes.Result[witTypes.Unit, plinth_types_types.Problem] {
	bridge.Enter()
	return bridge.Done(f.own.Update((*plinth.Block)(&rows)))
}

func (f *Fitting) Partial() witTypes.Result[[]uint8, plinth_types_types.Problem] {
	bridge.Enter()
	return bridge.Result(f.own.Partial())
}

func (f *Fitting) Merge(partial []uint8) witTypes.Result[witTypes.Unit, plinth_types_types.Problem] {
	bridge.Enter()
	return bridge.Done(f.own.Merge(partial))
}

func (f *Fitting) EndPass() witTypes.Result[wit.Step, plinth_types_types.Problem] {
	bridge.Enter()
	state, err := f.own.EndPass()
	if errors.Is(err, plinth.AnotherPass) {
		return bridge.Result(wit.MakeStepAnotherPass(), nil)
	}
	return bridge.Result(wit.MakeStepDone(state), err)
}

type Fitted struct {
	pinner runtime.Pinner
	handle int32
	own    plinth.Fitted
}

func (f *Fitted) OnDrop() { abi.Forget(f) }

func FittedLoad(name string, state []uint8, input plinth_types_types.Schema) witTypes.Result[*Fitted, plinth_types_types.Problem] {
	bridge.Enter()
	own, err := Items.Load(name, state, bridge.Schema(input))
	fitted := &Fitted{own: own}
	if err == nil {
		abi.Keep(fitted)
	}
	return bridge.Result(fitted, err)
}

func (f *Fitted) Output() plinth_types_types.Schema { return bridge.ToSchema(f.own.Output()) }

func (f *Fitted) Apply(rows plinth_types_types.Block) witTypes.Result[plinth_types_types.Block, plinth_types_types.Problem] {
	bridge.Enter()
	return bridge.Block(f.own.Apply((*plinth.Block)(&rows)))
}
