package plinth

import (
	"encoding/json"
	"reflect"
)

// Transform is one transform of a component, with the type of its options.
type Transform[O any] interface {
	// Start begins a fit.
	Start(input *Schema, options O) (Fitting, error)
	// Load binds a state to the schema of the rows to come.
	Load(state []byte, input *Schema) (Fitted, error)
}

// Fitting is a fit in progress. The host may run one for each partition and merge them.
type Fitting interface {
	// Update takes the next rows of this pass.
	Update(rows *Block) error
	// Partial is what this fit learned in this pass, to be merged into another that started with the same arguments.
	Partial() ([]byte, error)
	// Merge takes in what another fit learned. The result must not depend on how rows were spread over fits.
	Merge(partial []byte) error
	// EndPass ends the pass. It returns the fitted state, opaque to the host, or [AnotherPass] as its error where the
	// algorithm needs the same data again.
	EndPass() (state []byte, err error)
}

// Fitted is a fitted transform bound to an input schema.
type Fitted interface {
	// Output is the schema of what Apply returns.
	Output() *Schema
	// Apply transforms rows; one row out for each row in, in order. It is pure: same state, same rows, same bytes. Change
	// the block that was given and return it where that can be done: nothing is copied then.
	Apply(rows *Block) (*Block, error)
}

// AnotherPass is what [Fitting] returns from EndPass to be fed the same data again.
var AnotherPass error = Errorf("another-pass", "the fit needs another pass over the data")

// TransformItem is a transform with its name.
type TransformItem struct {
	Item
	start func(input *Schema, options string) (Fitting, error)
	load  func(state []byte, input *Schema) (Fitted, error)
}

// NewTransform makes an item of a transform.
func NewTransform[O any](name, summary string, transform Transform[O]) TransformItem {
	return TransformItem{
		Item: Item{name, summary, optionsSchema(reflect.TypeFor[O]())},
		start: func(input *Schema, text string) (Fitting, error) {
			options, err := ParseOptions[O](text)
			if err != nil {
				return nil, err
			}
			return transform.Start(input, options)
		},
		load: transform.Load,
	}
}

// Transforms is a component of transforms, called by name.
type Transforms []TransformItem

// Start begins a fit, with options as text.
func (t Transforms) Start(name string, input *Schema, options string) (Fitting, error) {
	item, err := find(t, name, func(item TransformItem) Item { return item.Item })
	if err != nil {
		return nil, err
	}
	return item.start(input, options)
}

// Load binds a state to the schema of the rows to come.
func (t Transforms) Load(name string, state []byte, input *Schema) (Fitted, error) {
	item, err := find(t, name, func(item TransformItem) Item { return item.Item })
	if err != nil {
		return nil, err
	}
	return item.load(state, input)
}

// MapOptions is what every item made by [NewMap] takes besides its own options.
type MapOptions struct {
	Columns []string `json:"columns,omitempty" doc:"Float64 columns to change; without it all of them are"`
}

// NewMap makes an item of a function from a number to a number. It is given its options and returns the function, which
// changes the float64 columns named by the option "columns", or all of them. Nulls stay null.
//
//	plinth.NewMap("clip", "Holds numbers within a range", func(options Range) func(float64) float64 {
//		return func(value float64) float64 { return max(options.Min, min(options.Max, value)) }
//	})
func NewMap[O any](name, summary string, bind func(options O) func(value float64) float64) TransformItem {
	// The options as two structs in one: an object with the properties of both.
	type all struct {
		own     O
		columns []string
	}
	parse := func(text string) (all, error) {
		var parsed all
		given := map[string]json.RawMessage{}
		if text != "" {
			if err := json.Unmarshal([]byte(text), &given); err != nil {
				return parsed, badOptions(wrong("", err.Error()))
			}
		}
		if columns, ok := given["columns"]; ok {
			if err := read("columns", columns, reflect.ValueOf(&parsed.columns).Elem()); err != nil {
				return parsed, badOptions(err)
			}
			delete(given, "columns")
		}
		rest, err := json.Marshal(given)
		if err == nil {
			parsed.own, err = ParseOptions[O](string(rest))
		}
		return parsed, err
	}
	joined := reflect.StructOf(append(reflect.VisibleFields(reflect.TypeFor[O]()),
		reflect.VisibleFields(reflect.TypeFor[MapOptions]())...))
	return TransformItem{
		Item: Item{name, summary, optionsSchema(joined)},
		start: func(input *Schema, text string) (Fitting, error) {
			options, err := parse(text)
			if err != nil {
				return nil, err
			}
			columns, err := input.Columns(options.columns, Float64)
			if err != nil {
				return nil, err
			}
			// The state is the options with the columns spelled out.
			given := map[string]json.RawMessage{}
			if text != "" {
				if err := json.Unmarshal([]byte(text), &given); err != nil {
					return nil, badOptions(wrong("", err.Error()))
				}
			}
			names := make([]string, len(columns))
			for index, column := range columns {
				names[index] = input.Fields[column].Name
			}
			if given["columns"], err = json.Marshal(names); err != nil {
				return nil, err
			}
			state, err := json.Marshal(given)
			return mapFitting(state), err
		},
		load: func(state []byte, input *Schema) (Fitted, error) {
			options, err := parse(string(state))
			if err != nil {
				return nil, err
			}
			columns, err := input.Columns(options.columns, Float64)
			return &mapFitted{input, columns, bind(options.own)}, err
		},
	}
}

// mapFitting is a fit that learns nothing.
type mapFitting []byte

func (m mapFitting) Update(*Block) error      { return nil }
func (m mapFitting) Partial() ([]byte, error) { return nil, nil }
func (m mapFitting) Merge([]byte) error       { return nil }
func (m mapFitting) EndPass() ([]byte, error) { return m, nil }

type mapFitted struct {
	input   *Schema
	columns []int
	change  func(float64) float64
}

func (m *mapFitted) Output() *Schema { return m.input }

func (m *mapFitted) Apply(rows *Block) (*Block, error) {
	for _, column := range m.columns {
		values, err := rows.Float64(m.input, column)
		if err != nil {
			return nil, err
		}
		for row, value := range values {
			values[row] = m.change(value)
		}
		if err := rows.ZeroNulls(m.input, column); err != nil {
			return nil, err
		}
	}
	return rows, nil
}
