package plinth

import (
	"reflect"
	"slices"
)

// DriftTest is one drift test of a component, with the type of its options.
type DriftTest[O any] interface {
	// Test compares two samples of one schema. Too few rows are an [Inconclusive] outcome, not an error.
	Test(schema *Schema, reference, current *Block, options O) (*Outcome, error)
}

// Verdict is what a test concluded.
type Verdict uint8

const (
	// NoDrift says that the samples are alike as far as the test can see.
	NoDrift Verdict = iota
	// Drift says that they differ by more than the threshold.
	Drift
	// Inconclusive says that there are too few rows, or nothing that can be compared.
	Inconclusive
)

// Outcome is the result of one test.
type Outcome struct {
	// Statistic is on the test's own scale.
	Statistic float64
	// PValue is the probability of such a statistic without drift, for tests that have one.
	PValue *float64
	// EffectSize is the size of the difference on a scale that does not grow with n; the item's Effect names it.
	EffectSize *float64
	// Threshold is what the statistic, or the p-value where there is one, was compared with.
	Threshold float64
	// Verdict is the conclusion.
	Verdict Verdict
	// NReference is the rows of the reference that counted: not null, not NaN.
	NReference uint64
	// NCurrent is the rows of the current sample that counted.
	NCurrent uint64
	// Note is anything a person should know, such as why it is inconclusive; empty where there is nothing.
	Note string
}

// DriftTestItem is a drift test with its name.
type DriftTestItem struct {
	Item
	// Kinds are the column types it can compare.
	Kinds []Kind
	// Multivariate tells whether it takes several columns at once; else it gets exactly one.
	Multivariate bool
	// Effect is what the effect size measures, such as `largest gap between the distributions, 0 to 1`; empty for a
	// test without one.
	Effect string
	test   func(schema *Schema, reference, current *Block, options string) (*Outcome, error)
}

// NewDriftTest makes an item of a drift test of one column of one of these kinds.
func NewDriftTest[O any](name, summary string, kinds []Kind, test DriftTest[O]) DriftTestItem {
	return DriftTestItem{
		Item:  Item{name, summary, optionsSchema(reflect.TypeFor[O]())},
		Kinds: kinds,
		test: func(schema *Schema, reference, current *Block, text string) (*Outcome, error) {
			options, err := ParseOptions[O](text)
			if err != nil {
				return nil, err
			}
			return test.Test(schema, reference, current, options)
		},
	}
}

// NewMultivariateDriftTest makes an item of a drift test that takes several columns at once.
func NewMultivariateDriftTest[O any](name, summary string, kinds []Kind, test DriftTest[O]) DriftTestItem {
	item := NewDriftTest(name, summary, kinds, test)
	item.Multivariate = true
	return item
}

// DriftTests is a component of drift tests, called by name.
type DriftTests []DriftTestItem

// Test compares, with options as text.
func (d DriftTests) Test(name string, schema *Schema, reference, current *Block, options string) (*Outcome, error) {
	item, err := find(d, name, func(item DriftTestItem) Item { return item.Item })
	if err != nil {
		return nil, err
	}
	if columns := len(schema.Fields); columns == 0 || !item.Multivariate && columns != 1 {
		return nil, Errorf("wrong-columns", "`%s` compares one column, %d were given", name, columns)
	}
	for _, field := range schema.Fields {
		if !slices.Contains(item.Kinds, field.Kind) {
			return nil, Errorf("wrong-kind", "`%s` does not compare %s columns such as `%s`", name, field.Kind, field.Name).
				InColumn(field.Name)
		}
	}
	return item.test(schema, reference, current, options)
}
