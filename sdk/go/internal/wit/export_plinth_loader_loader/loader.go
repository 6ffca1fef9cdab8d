//go:build wasip1

// Package export_plinth_loader_loader is what the host calls of loaders.
package export_plinth_loader_loader

import (
	"runtime"

	"github.com/plinth-ml/plinth/sdk/go"
	abi "github.com/plinth-ml/plinth/sdk/go/internal/abi/runtime"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/bridge"
	wit "github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_loader_loader"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_types_types"
)

// Items is what the component exports.
var Items plinth.Loaders

func Describe() []plinth_types_types.Item {
	return bridge.Items(Items, func(item plinth.LoaderItem) plinth.Item { return item.Item })
}

func Plan(name, source, options string) witTypes.Result[wit.ReadPlan, plinth_types_types.Problem] {
	bridge.Enter()
	plan, err := Items.Plan(name, source, options)
	if err != nil {
		return bridge.Result(wit.ReadPlan{}, err)
	}
	partitions := make([]wit.Partition, len(plan.Partitions))
	for index, partition := range plan.Partitions {
		partitions[index] = wit.Partition{
			Token:     partition.Token,
			RowsHint:  witTypes.FromPointer(partition.RowsHint),
			BytesHint: witTypes.FromPointer(partition.BytesHint),
		}
	}
	return bridge.Result(wit.ReadPlan{Schema: bridge.ToSchema(plan.Schema), Partitions: partitions}, nil)
}

type Reader struct {
	pinner runtime.Pinner
	handle int32
	own    plinth.Reader
}

func (r *Reader) OnDrop() {
	abi.Forget(r)
	if closer, ok := r.own.(plinth.Closer); ok {
		closer.Close()
	}
}

func ReaderOpen(name, source, options string, schema plinth_types_types.Schema, token []uint8) witTypes.Result[*Reader, plinth_types_types.Problem] {
	bridge.Enter()
	own, err := Items.Open(name, source, options, bridge.Schema(schema), token)
	reader := &Reader{own: own}
	if err == nil {
		abi.Keep(reader)
	}
	return bridge.Result(reader, err)
}

func (r *Reader) Next(maxRows uint32) witTypes.Result[witTypes.Option[plinth_types_types.Block], plinth_types_types.Problem] {
	bridge.Enter()
	return bridge.Next(r.own.Next(int(maxRows)))
}
