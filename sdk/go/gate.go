package plinth

import "reflect"

// Gate is one gate of a component, with the type of its options.
type Gate[O any] interface {
	// Evaluate judges. Rows behind the evidence come through [OpenTable] (`data`, `predictions`). The host treats an
	// error, a panic and a timeout as a failed check.
	Evaluate(evidence *Evidence, options O) ([]Check, error)
}

// Evidence is what there is to judge by.
type Evidence struct {
	// Candidate wants to go on.
	Candidate Subject
	// Baseline is the one in place, measured on the same rows; nil the first time.
	Baseline *Subject
}

// Subject is something measured: a model version on a data set, or a data set alone.
type Subject struct {
	// Reference is its name for a person, such as `models:/churn/3`.
	Reference string
	// Metrics is what was measured.
	Metrics []Metric
	// Tags is anything else known about it, in order.
	Tags [][2]string
}

// Metric is a metric of the whole, or of a slice where one is named; nil where it was not measured.
func (s *Subject) Metric(name string, slice ...string) *Metric {
	for index := range s.Metrics {
		metric := &s.Metrics[index]
		whole := len(slice) == 0 && metric.Slice == nil
		if metric.Name == name && (whole || len(slice) == 1 && metric.Slice != nil && *metric.Slice == slice[0]) {
			return metric
		}
	}
	return nil
}

// Metric is one measurement.
type Metric struct {
	// Name is such as `accuracy`.
	Name string
	// Value may be NaN where it is undefined.
	Value float64
	// Slice is what it was measured on, such as `state=KS`; nil for the whole.
	Slice *string
	// N is the number of rows behind it, if known.
	N *uint64
}

// CheckOutcome is the result of one check.
type CheckOutcome uint8

const (
	// Pass is as it should be.
	Pass CheckOutcome = iota
	// Warn is worth a look; it stops nothing.
	Warn
	// Fail stops the candidate.
	Fail
)

// Check is one check and what it saw.
type Check struct {
	// Name is what was checked, such as `f1 > 0.8`.
	Name string
	// Outcome is its result.
	Outcome CheckOutcome
	// Observed is what was seen, for a person.
	Observed string
	// Expected is what was wanted, for a person.
	Expected string
	// Reason is why it matters or what to do, for a person; may be empty.
	Reason string
}

// GateItem is a gate with its name.
type GateItem struct {
	Item
	evaluate func(evidence *Evidence, options string) ([]Check, error)
}

// NewGate makes an item of a gate.
func NewGate[O any](name, summary string, gate Gate[O]) GateItem {
	return GateItem{
		Item: Item{name, summary, optionsSchema(reflect.TypeFor[O]())},
		evaluate: func(evidence *Evidence, text string) ([]Check, error) {
			options, err := ParseOptions[O](text)
			if err != nil {
				return nil, err
			}
			return gate.Evaluate(evidence, options)
		},
	}
}

// Gates is a component of gates, called by name.
type Gates []GateItem

// Evaluate judges, with options as text.
func (g Gates) Evaluate(name string, evidence *Evidence, options string) ([]Check, error) {
	item, err := find(g, name, func(item GateItem) Item { return item.Item })
	if err != nil {
		return nil, err
	}
	return item.evaluate(evidence, options)
}
