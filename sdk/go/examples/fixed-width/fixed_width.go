// A loader of text files whose columns have fixed widths.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/loader"
)

func init() {
	loader.Export(plinth.NewLoader("fixed-width", "Text files whose columns have fixed widths", FixedWidth{}))
}

func main() {}

// FixedWidth is the loader.
type FixedWidth struct{}

// Options is what it takes.
type Options struct {
	Columns       []Column `json:"columns" min:"1"`
	PartitionRows uint64   `json:"partition-rows" default:"65536" min:"1" max:"9223372036854775807"`
}

// Column is one column of a source.
type Column struct {
	Name     string      `json:"name"`
	Width    int         `json:"width" min:"1" max:"16777215"`
	Kind     plinth.Kind `json:"kind" enum:"int64,float64,utf8,boolean"`
	Nullable bool        `json:"nullable" default:"true"`
}

// The longest record, and the most bytes and rows that are read at once.
const (
	recordMax = 16 << 20
	readMax   = 64 << 20
	rowsMax   = 8192
)

// schema is the columns as a schema, or what is wrong with them.
func (o Options) schema() (*plinth.Schema, error) {
	schema := &plinth.Schema{}
	names := map[string]bool{}
	for _, column := range o.Columns {
		if column.Name == "" || names[column.Name] {
			return nil, plinth.Errorf("bad-options", "option `columns`: the name `%s` is empty or in it twice", column.Name)
		}
		names[column.Name] = true
		schema.Fields = append(schema.Fields, plinth.Field{Name: column.Name, Kind: column.Kind, Nullable: column.Nullable})
	}
	if o.record() > recordMax {
		return nil, plinth.Errorf("bad-options", "option `columns`: a record is over 16 MiB wide")
	}
	return schema, nil
}

// record is the bytes of a record, with its newline.
func (o Options) record() int {
	record := 1
	for _, column := range o.Columns {
		record += column.Width
	}
	return record
}

// Plan looks at a source: any number of whole records.
func (FixedWidth) Plan(source string, options Options) (*plinth.ReadPlan, error) {
	schema, err := options.schema()
	if err != nil {
		return nil, err
	}
	object, err := plinth.OpenObject(source)
	if err != nil {
		return nil, err
	}
	defer object.Close()
	size, record := uint64(object.Size()), uint64(options.record())
	if size%record != 0 {
		return nil, plinth.Errorf("bad-source", "%d bytes are no whole number of records of %d bytes", size, record)
	}
	plan := &plinth.ReadPlan{Schema: schema}
	for first := uint64(0); first < size/record; {
		rows := min(options.PartitionRows, size/record-first)
		token := binary.LittleEndian.AppendUint64(nil, first)
		plan.Partitions = append(plan.Partitions, plinth.Partition{
			Token:     binary.LittleEndian.AppendUint64(token, rows),
			RowsHint:  plinth.Of(rows),
			BytesHint: plinth.Of(rows * record),
		})
		first += rows
	}
	return plan, nil
}

// Open opens a partition.
func (FixedWidth) Open(source string, options Options, schema *plinth.Schema, token []byte) (plinth.Reader, error) {
	own, err := options.schema()
	if err != nil {
		return nil, err
	}
	if len(token) != 16 || !slices.Equal(own.Fields, schema.Fields) {
		return nil, plinth.Errorf("bad-token", "the partition is none of this loader's")
	}
	object, err := plinth.OpenObject(source)
	if err != nil {
		return nil, err
	}
	first, rows := binary.LittleEndian.Uint64(token), binary.LittleEndian.Uint64(token[8:])
	return &records{object, options, schema, first, first + rows}, nil
}

// records is a partition being read.
type records struct {
	object    *plinth.Object
	options   Options
	schema    *plinth.Schema
	next, end uint64
}

func (r *records) Close() { r.object.Close() }

func (r *records) Next(maxRows int) (*plinth.Block, error) {
	record := r.options.record()
	rows := min(maxRows, rowsMax, readMax/record, int(r.end-r.next))
	if rows == 0 {
		return nil, io.EOF
	}
	bytes, err := r.object.Read(int64(r.next)*int64(record), rows*record)
	if err != nil {
		return nil, err
	}
	if len(bytes) != rows*record {
		return nil, plinth.Errorf("bad-source", "the source ends before row %d", r.end)
	}
	columns := make([]cells, len(r.options.Columns))
	for index, column := range r.options.Columns {
		columns[index] = newCells(column, rows)
	}
	for row := range rows {
		if problem := take(bytes[row*record:(row+1)*record], columns); problem != nil {
			return nil, problem.AtRow(int(r.next) + row)
		}
	}
	r.next += uint64(rows)
	builder := plinth.NewBuilder(r.schema, rows)
	for index := range columns {
		columns[index].build(builder)
	}
	return builder.Finish()
}

// take reads the cells of one record.
func take(record []byte, columns []cells) *plinth.Problem {
	rest, last := record[:len(record)-1], record[len(record)-1]
	if last != '\n' {
		return plinth.Errorf("bad-row", "the record does not end with a newline")
	}
	for index := range columns {
		column := &columns[index]
		cell := rest[:column.Width]
		rest = rest[column.Width:]
		if code, why := column.push(cell); code != "" {
			return (&plinth.Problem{Code: code, Message: why}).InColumn(column.Name)
		}
	}
	return nil
}

// cells is the cells of one column so far.
type cells struct {
	Column
	valid    []bool
	ints     []int64
	floats   []float64
	booleans []bool
	texts    [][]byte
}

func newCells(column Column, rows int) cells {
	c := cells{Column: column, valid: make([]bool, 0, rows)}
	switch column.Kind {
	case plinth.Int64:
		c.ints = make([]int64, 0, rows)
	case plinth.Float64:
		c.floats = make([]float64, 0, rows)
	case plinth.Boolean:
		c.booleans = make([]bool, 0, rows)
	default:
		c.texts = make([][]byte, 0, rows)
	}
	return c
}

// push takes the cell of the next record; else it is a problem's code and message.
func (c *cells) push(cell []byte) (code, why string) {
	cell = trimmed(cell)
	null := len(cell) == 0 && c.Nullable
	if len(cell) == 0 && !null && c.Kind != plinth.Utf8 {
		return "null-value", fmt.Sprintf("column `%s` is empty and not nullable", c.Name)
	}
	c.valid = append(c.valid, !null)
	ok := true
	switch c.Kind {
	case plinth.Int64:
		value := int64(0)
		if !null {
			value, ok = parseInt(cell)
		}
		c.ints = append(c.ints, value)
	case plinth.Float64:
		value := 0.0
		if !null {
			value, ok = parseFloat(cell)
		}
		c.floats = append(c.floats, value)
	case plinth.Boolean:
		value := string(cell) == "true"
		ok = null || value || string(cell) == "false"
		c.booleans = append(c.booleans, value)
	default:
		ok = isText(cell)
		c.texts = append(c.texts, cell)
	}
	if !ok {
		return "bad-value", fmt.Sprintf("`%s` is no %s", cell, c.Kind)
	}
	return "", ""
}

// build hands the column over.
func (c *cells) build(builder *plinth.Builder) {
	valid := plinth.Bitmap(len(c.valid), func(row int) bool { return c.valid[row] })
	switch c.Kind {
	case plinth.Int64:
		builder.Int64(c.ints, valid)
	case plinth.Float64:
		builder.Float64(c.floats, valid)
	case plinth.Boolean:
		builder.Bool(c.booleans, valid)
	default:
		builder.Binary(c.texts, valid)
	}
}
