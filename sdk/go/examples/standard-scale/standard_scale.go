// A transform: (value - mean) / deviation, with the mean and the deviation of the training rows.
package main

import (
	"encoding/binary"
	"math"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/transform"
)

func init() {
	transform.Export(plinth.NewTransform("standard-scale",
		"Centres numbers on their mean and scales them by their standard deviation", StandardScale{}))
}

func main() {}

// StandardScale is the transform.
type StandardScale struct{}

// Options is what it takes.
type Options struct {
	Columns []string `json:"columns,omitempty" doc:"Float64 columns to scale; without it all of them are"`
}

// Start begins a fit.
func (StandardScale) Start(input *plinth.Schema, options Options) (plinth.Fitting, error) {
	columns, err := input.Columns(options.Columns, plinth.Float64)
	if err != nil {
		return nil, err
	}
	return &learning{input, columns, make([]moments, len(columns))}, nil
}

// moments is what was learned of one column: how many values, their mean, the sum of their squared differences from it.
type moments struct{ n, mean, m2 float64 }

// momentsLen is the bytes of moments in a partial.
const momentsLen = 24

// Each product is converted before it is added to something: on some processors Go would else fuse the two, and results
// would differ from machine to machine.

func (m *moments) add(value float64) {
	apart := value - m.mean
	m.n++
	m.mean += apart / m.n
	m.m2 += float64(apart * (value - m.mean))
}

func (m *moments) merge(other moments) {
	if other.n == 0 {
		return
	}
	n := m.n + other.n
	apart := other.mean - m.mean
	m.m2 += other.m2 + float64(apart*apart*(m.n*other.n/n))
	m.mean += float64(apart * (other.n / n))
	m.n = n
}

// deviation is never 0, which nothing can be divided by.
func (m moments) deviation() float64 {
	if m.n == 0 || m.m2/m.n == 0 {
		return 1
	}
	return math.Sqrt(m.m2 / m.n)
}

// learning is a fit in progress.
type learning struct {
	input   *plinth.Schema
	columns []int
	moments []moments
}

func (l *learning) Update(rows *plinth.Block) error {
	for index, column := range l.columns {
		values, err := rows.Float64(l.input, column)
		if err != nil {
			return err
		}
		valid, err := rows.Valid(l.input, column)
		if err != nil {
			return err
		}
		learned := l.moments[index]
		for row, value := range values {
			if valid.At(row) && !math.IsNaN(value) {
				learned.add(value)
			}
		}
		l.moments[index] = learned
	}
	return nil
}

func (l *learning) Partial() ([]byte, error) {
	var partial []byte
	for _, m := range l.moments {
		partial = appendFloats(partial, m.n, m.mean, m.m2)
	}
	return partial, nil
}

func (l *learning) Merge(partial []byte) error {
	if len(partial) != len(l.moments)*momentsLen {
		return plinth.Errorf("bad-partial", "%d bytes are no partial of %d columns", len(partial), len(l.moments))
	}
	for index := range l.moments {
		at := partial[index*momentsLen:]
		l.moments[index].merge(moments{floatAt(at, 0), floatAt(at, 8), floatAt(at, 16)})
	}
	return nil
}

func (l *learning) EndPass() ([]byte, error) {
	var state []byte
	for index, column := range l.columns {
		state = binary.LittleEndian.AppendUint32(state, uint32(column))
		state = appendFloats(state, l.moments[index].mean, l.moments[index].deviation())
	}
	return state, nil
}

// scaling is what is kept of one column: how to scale it.
type scaling struct {
	column          int
	mean, deviation float64
}

// scalingLen is the bytes of a scaling in the state.
const scalingLen = 20

// Load binds a state to the schema of the rows to come.
func (StandardScale) Load(state []byte, input *plinth.Schema) (plinth.Fitted, error) {
	if len(state)%scalingLen != 0 {
		return nil, plinth.Errorf("bad-state", "%d bytes are no state", len(state))
	}
	scaler := &scaler{input, make([]scaling, len(state)/scalingLen)}
	for index := range scaler.scalings {
		at := state[index*scalingLen:]
		column := binary.LittleEndian.Uint32(at)
		if uint64(column) >= uint64(len(input.Fields)) || input.Fields[column].Kind != plinth.Float64 {
			return nil, plinth.Errorf("bad-state", "the state was fitted on other columns")
		}
		scaler.scalings[index] = scaling{int(column), floatAt(at, 4), floatAt(at, 12)}
	}
	return scaler, nil
}

// scaler is the fitted transform.
type scaler struct {
	input    *plinth.Schema
	scalings []scaling
}

func (s *scaler) Output() *plinth.Schema { return s.input }

func (s *scaler) Apply(rows *plinth.Block) (*plinth.Block, error) {
	for _, scaling := range s.scalings {
		values, err := rows.Float64(s.input, scaling.column)
		if err != nil {
			return nil, err
		}
		for row, value := range values {
			values[row] = (value - scaling.mean) / scaling.deviation
		}
		if err := rows.ZeroNulls(s.input, scaling.column); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func appendFloats(to []byte, values ...float64) []byte {
	for _, value := range values {
		to = binary.LittleEndian.AppendUint64(to, math.Float64bits(value))
	}
	return to
}

func floatAt(bytes []byte, at int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(bytes[at:]))
}
