package plinth

import "reflect"

// ModelKind is one kind of model of a component, with the type of its options.
type ModelKind[O any] interface {
	// Load makes a model that is ready to predict rows of this schema. The artifact is what was registered with the model
	// version, opaque to the host, and empty where the component is all there is; [ParseJSON] reads one that is JSON.
	Load(artifact []byte, input *Schema, options O) (Predictor, error)
}

// Predictor is a model that is loaded. The host may hold several of the same, and uses each from one call at a time.
type Predictor interface {
	// Output is the schema of what Predict returns, such as `prediction`, or one column of probabilities for each class.
	Output() *Schema
	// Predict predicts; one row out for each row in, in order. It is pure: same artifact, same rows, same bytes.
	Predict(rows *Block) (*Block, error)
}

// ModelItem is a kind of model with its name.
type ModelItem struct {
	Item
	load func(artifact []byte, input *Schema, options string) (Predictor, error)
}

// NewModel makes an item of a kind of model.
func NewModel[O any](name, summary string, kind ModelKind[O]) ModelItem {
	return ModelItem{
		Item: Item{name, summary, optionsSchema(reflect.TypeFor[O]())},
		load: func(artifact []byte, input *Schema, text string) (Predictor, error) {
			options, err := ParseOptions[O](text)
			if err != nil {
				return nil, err
			}
			return kind.Load(artifact, input, options)
		},
	}
}

// Models is a component of models, called by name.
type Models []ModelItem

// Load makes a model that is ready to predict, with options as text.
func (m Models) Load(name string, artifact []byte, input *Schema, options string) (Predictor, error) {
	item, err := find(m, name, func(item ModelItem) Item { return item.Item })
	if err != nil {
		return nil, err
	}
	return item.load(artifact, input, options)
}
