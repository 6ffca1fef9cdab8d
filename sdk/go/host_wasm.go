//go:build wasip1

package plinth

import (
	"io"

	"github.com/plinth-ml/plinth/sdk/go/internal/abi/runtime"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_log"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_objects"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_tables"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_types_types"
)

// Collect runs the garbage collector if enough was allocated since it last ran. The SDK does between calls; a plugin
// that allocates very much within one call can.
func Collect() { runtime.Collect() }

// returned ends a call of the host: what it wrote is ours now, and the collector may run.
func returned[T any](result witTypes.Result[T, plinth_types_types.Problem]) (T, error) {
	runtime.Unpin()
	runtime.Collect()
	if result.Tag() == witTypes.ResultOk {
		return result.Ok(), nil
	}
	problem := result.Err()
	var none T
	return none, &Problem{
		Code:      problem.Code,
		Message:   problem.Message,
		Retryable: problem.Retryable,
		Row:       problem.Row.Pointer(),
		Column:    problem.Column.Some(),
	}
}

func log(level Level, message string) { plinth_host_log.Log(uint8(level), message) }

type hostObject struct{ object *plinth_host_objects.Object }

func openObject(uri string) (hostObject, uint64, error) {
	object, err := returned(plinth_host_objects.Open(uri))
	if err != nil {
		return hostObject{}, 0, err
	}
	return hostObject{object}, object.Size(), nil
}

func (h hostObject) read(offset int64, length int) ([]byte, error) {
	return returned(h.object.Read(uint64(offset), uint32(length)))
}

func (h hostObject) drop() { h.object.Drop() }

func listObjects(prefix, after string, most int) ([]string, error) {
	return returned(plinth_host_objects.ListObjects(prefix, optional(after), uint32(most)))
}

// optional is a text where it is not empty.
func optional(text string) witTypes.Option[string] {
	if text == "" {
		return witTypes.None[string]()
	}
	return witTypes.Some(text)
}

type hostTable struct{ table *plinth_host_tables.Table }

func openTable(name string) (hostTable, *Schema, error) {
	table, err := returned(plinth_host_tables.Open(name))
	if err != nil {
		return hostTable{}, nil, err
	}
	lent := table.Schema()
	runtime.Unpin()
	schema := &Schema{make([]Field, len(lent.Fields))}
	for index, field := range lent.Fields {
		schema.Fields[index] = Field{field.Name, Kind(field.Kind), field.Nullable}
	}
	return hostTable{table}, schema, nil
}

func (h hostTable) next(maxRows int) (*Block, error) {
	next, err := returned(h.table.Next(uint32(maxRows)))
	if err != nil {
		return nil, err
	}
	block := next.Pointer()
	if block == nil {
		return nil, io.EOF
	}
	return (*Block)(block), nil
}

func (h hostTable) drop() { h.table.Drop() }
