// Package plinth is for writing Plinth plugins in Go.
//
// A plugin is a WebAssembly component that offers named items for an extension point. Implement the interface of that
// point, with a struct of options whose tags become their JSON Schema, and export the items in an init function:
//
//	point       interface                       makes an item    exports them
//	loader      [Loader], [Reader]              [NewLoader]      loader.Export
//	transform   [Transform], [Fitting], [Fitted] [NewTransform]  transform.Export
//	gate        [Gate]                          [NewGate]        gate.Export
//	drift test  [DriftTest]                     [NewDriftTest]   drift.Export
//	model       [ModelKind], [Predictor]        [NewModel]       predict.Export
//
// A transform that changes one number at a time is a function: [NewMap].
//
// The same code compiles for your machine, where nothing is exported and package plinthtest plays the host; the lists
// of items ([Transforms], [Loaders], [Gates], [DriftTests], [Models]) are called by name, as the host does. So a plugin
// is tested with go test, without WebAssembly.
//
// # Memory
//
// Rows are views of memory that was moved in from the host: nothing is copied, and a text is good for as long as its
// block. The garbage collector must not start while the host moves memory in, so in a component it does not start by
// itself: the SDK runs it between calls, after every 32 MB that were allocated. A plugin that allocates very much
// within one call can call [Collect] itself.
package plinth

import "fmt"

// Problem says why a call could not be done. Every error that an item returns becomes one; an error that is none gets
// the code "failed".
type Problem struct {
	// Code is stable, kebab-case, documented by the plugin.
	Code string
	// Message is for a person: it names the offending value.
	Message string
	// Retryable tells whether the same call may succeed later.
	Retryable bool
	// Row is the row within the block or the source that caused it, from 0; nil where it was none.
	Row *uint64
	// Column is the column that caused it, or empty.
	Column string
}

// Errorf is a problem with what was given: the same call fails again.
func Errorf(code, format string, arguments ...any) *Problem {
	return &Problem{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

// AtRow names the row, from 0.
func (p *Problem) AtRow(row int) *Problem {
	p.Row = Of(uint64(row))
	return p
}

// InColumn names the column.
func (p *Problem) InColumn(column string) *Problem {
	p.Column = column
	return p
}

// Again says that the same call may succeed later.
func (p *Problem) Again() *Problem {
	p.Retryable = true
	return p
}

// Error is the code, the message, the column and the row.
func (p *Problem) Error() string {
	text := p.Code + ": " + p.Message
	if p.Column != "" {
		text += fmt.Sprintf(" (column `%s`)", p.Column)
	}
	if p.Row != nil {
		text += fmt.Sprintf(" (row %d)", *p.Row)
	}
	return text
}

// Of is a pointer to a value, for fields that may be absent.
func Of[T any](value T) *T { return &value }

// Item is one named thing that a component offers.
type Item struct {
	// Name is kebab-case, unique within the extension point of this component.
	Name string
	// Summary is one line for a list.
	Summary string
	// OptionsSchema is the JSON Schema of its options; the host checks options against it before any call.
	OptionsSchema string
}

// find is the item of a name, or a problem with the nearest name there is.
func find[T any](items []T, name string, item func(T) Item) (T, error) {
	names := make([]string, 0, len(items))
	for _, candidate := range items {
		if item(candidate).Name == name {
			return candidate, nil
		}
		names = append(names, item(candidate).Name)
	}
	var none T
	return none, Errorf("unknown-item", "this component has no `%s`%s", name, nearest(name, names))
}
