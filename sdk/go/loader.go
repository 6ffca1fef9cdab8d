package plinth

import "reflect"

// Loader is one loader of a component, with the type of its options.
type Loader[O any] interface {
	// Plan looks at a source: its schema (inferred or from the options) and its partitions.
	Plan(source string, options O) (*ReadPlan, error)
	// Open opens a partition of a plan made earlier from the same source and options, possibly in another instance.
	Open(source string, options O, schema *Schema, token []byte) (Reader, error)
}

// Reader is one partition being read.
type Reader interface {
	// Next is at most maxRows rows, or io.EOF at the end. Name a row that cannot be read with [Problem.AtRow].
	Next(maxRows int) (*Block, error)
}

// Closer is a [Reader] that wants to know when the host is done with it.
type Closer interface{ Close() }

// ReadPlan is what a source holds and how to read it.
type ReadPlan struct {
	// Schema is the columns that every partition yields.
	Schema *Schema
	// Partitions are in source order; rows of partition i come before those of partition i + 1.
	Partitions []Partition
}

// Partition is a part of a source that can be read on its own.
type Partition struct {
	// Token is opaque to the host; given back to Open, possibly on another machine.
	Token []byte
	// RowsHint is the number of rows, if known.
	RowsHint *uint64
	// BytesHint is the number of bytes of the source, if known.
	BytesHint *uint64
}

// LoaderItem is a loader with its name.
type LoaderItem struct {
	Item
	plan func(source, options string) (*ReadPlan, error)
	open func(source, options string, schema *Schema, token []byte) (Reader, error)
}

// NewLoader makes an item of a loader.
func NewLoader[O any](name, summary string, loader Loader[O]) LoaderItem {
	return LoaderItem{
		Item: Item{name, summary, optionsSchema(reflect.TypeFor[O]())},
		plan: func(source, text string) (*ReadPlan, error) {
			options, err := ParseOptions[O](text)
			if err != nil {
				return nil, err
			}
			return loader.Plan(source, options)
		},
		open: func(source, text string, schema *Schema, token []byte) (Reader, error) {
			options, err := ParseOptions[O](text)
			if err != nil {
				return nil, err
			}
			return loader.Open(source, options, schema, token)
		},
	}
}

// Loaders is a component of loaders, called by name.
type Loaders []LoaderItem

// Plan looks at a source, with options as text.
func (l Loaders) Plan(name, source, options string) (*ReadPlan, error) {
	item, err := find(l, name, func(item LoaderItem) Item { return item.Item })
	if err != nil {
		return nil, err
	}
	return item.plan(source, options)
}

// Open opens a partition, with options as text.
func (l Loaders) Open(name, source, options string, schema *Schema, token []byte) (Reader, error) {
	item, err := find(l, name, func(item LoaderItem) Item { return item.Item })
	if err != nil {
		return nil, err
	}
	return item.open(source, options, schema, token)
}
