//go:build wasip1

// Package bridge turns the values of the generated bindings into those of package plinth, and back. Blocks are the same
// in memory, so they are neither copied nor changed.
package bridge

import (
	"errors"
	"io"
	"strings"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/internal/abi/runtime"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_types_types"
)

// Schema is a schema of the host.
func Schema(from plinth_types_types.Schema) *plinth.Schema {
	schema := &plinth.Schema{Fields: make([]plinth.Field, len(from.Fields))}
	for index, field := range from.Fields {
		schema.Fields[index] = plinth.Field{Name: field.Name, Kind: plinth.Kind(field.Kind), Nullable: field.Nullable}
	}
	return schema
}

// ToSchema is a schema for the host.
func ToSchema(from *plinth.Schema) plinth_types_types.Schema {
	fields := make([]plinth_types_types.Field, len(from.Fields))
	for index, field := range from.Fields {
		fields[index] = plinth_types_types.Field{Name: field.Name, Kind: uint8(field.Kind), Nullable: field.Nullable}
	}
	return plinth_types_types.Schema{Fields: fields}
}

// Items is a list for the host.
func Items[T any](from []T, item func(T) plinth.Item) []plinth_types_types.Item {
	items := make([]plinth_types_types.Item, len(from))
	for index, element := range from {
		items[index] = plinth_types_types.Item(item(element))
	}
	return items
}

// Problem is an error for the host.
func Problem(err error) plinth_types_types.Problem {
	var problem *plinth.Problem
	if !errors.As(err, &problem) {
		problem = &plinth.Problem{Code: "failed", Message: err.Error()}
	}
	column := witTypes.None[string]()
	if problem.Column != "" {
		column = witTypes.Some(text(problem.Column))
	}
	return plinth_types_types.Problem{
		Code:      problem.Code,
		Message:   text(problem.Message),
		Retryable: problem.Retryable,
		Row:       witTypes.FromPointer(problem.Row),
		Column:    column,
	}
}

// text is UTF-8, as everything has to be that leaves a component as text.
func text(value string) string { return strings.ToValidUTF8(value, "\uFFFD") }

// Result is the result of a call for the host.
func Result[T any](value T, err error) witTypes.Result[T, plinth_types_types.Problem] {
	if err != nil {
		return witTypes.Err[T](Problem(err))
	}
	return witTypes.Ok[T, plinth_types_types.Problem](value)
}

// Done is the result of a call that yields nothing.
func Done(err error) witTypes.Result[witTypes.Unit, plinth_types_types.Problem] {
	return Result(witTypes.Unit{}, err)
}

// Block is the result of a call that yields rows.
func Block(block *plinth.Block, err error) witTypes.Result[plinth_types_types.Block, plinth_types_types.Problem] {
	if err == nil && block == nil {
		err = plinth.Errorf("failed", "the plugin returned neither rows nor an error")
	}
	if err != nil {
		return witTypes.Err[plinth_types_types.Block](Problem(err))
	}
	return witTypes.Ok[plinth_types_types.Block, plinth_types_types.Problem](plinth_types_types.Block(*block))
}

// Next is the result of a call that yields rows or io.EOF.
func Next(block *plinth.Block, err error) witTypes.Result[witTypes.Option[plinth_types_types.Block], plinth_types_types.Problem] {
	if errors.Is(err, io.EOF) {
		return Result(witTypes.None[plinth_types_types.Block](), nil)
	}
	result := Block(block, err)
	if result.Tag() == witTypes.ResultErr {
		return witTypes.Err[witTypes.Option[plinth_types_types.Block]](result.Err())
	}
	return Result(witTypes.Some(result.Ok()), nil)
}

// Enter begins a call: its arguments are Go values by now, so the collector may run.
func Enter() { runtime.Collect() }
