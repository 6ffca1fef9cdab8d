package main

import (
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/loader"
	"github.com/plinth-ml/plinth/sdk/go/plinthtest"
)

const options = `{"columns": [{"name": "id", "width": 4, "kind": "int64", "nullable": false},
	{"name": "x", "width": 6, "kind": "float64"}, {"name": "t", "width": 3, "kind": "utf8"},
	{"name": "on", "width": 5.0, "kind": "boolean"}], "partition-rows": 2}`

const uri = "file:///t.txt"

// read is all blocks of a source, each of at most so many rows.
func read(t *testing.T, text string, maxRows int) ([]*plinth.Block, error) {
	t.Helper()
	plinthtest.LendObject(t, uri, []byte(text))
	plan, err := loader.Exported.Plan("fixed-width", uri, options)
	if err != nil {
		return nil, err
	}
	var blocks []*plinth.Block
	for _, part := range plan.Partitions {
		reader, err := loader.Exported.Open("fixed-width", uri, options, plan.Schema, part.Token)
		if err != nil {
			return nil, err
		}
		for {
			block, err := reader.Next(maxRows)
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
			blocks = append(blocks, block)
		}
	}
	return blocks, nil
}

const rows = "   1  -2.5abc true\n  -2       öfalse\n   3  7e-1 z      \n"

func TestASourceIsReadInPartitions(t *testing.T) {
	plinthtest.LendObject(t, uri, []byte(rows))
	plan, err := loader.Exported.Plan("fixed-width", uri, options)
	if err != nil || len(plan.Partitions) != 2 {
		t.Fatal(plan, err)
	}
	last := plan.Partitions[1]
	if *last.RowsHint != 1 || *last.BytesHint != 19 ||
		!slices.Equal(last.Token, []byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("%+v", last)
	}
	blocks, err := read(t, rows, 100)
	if err != nil || len(blocks) != 2 || blocks[0].Rows != 2 || blocks[1].Rows != 1 {
		t.Fatal(blocks, err)
	}
	first := blocks[0]
	ids, err := first.Int64(plan.Schema, 0)
	if err != nil || !slices.Equal(ids, []int64{1, -2}) {
		t.Error(ids, err)
	}
	numbers, err := first.Float64(plan.Schema, 1)
	if err != nil || !slices.Equal(numbers, []float64{-2.5, 0}) {
		t.Error(numbers, err)
	}
	texts, err := first.Text(plan.Schema, 2)
	if err != nil || texts.At(0) != "abc" || texts.At(1) != "ö" {
		t.Error(texts, err)
	}
	valid, err := blocks[1].Valid(plan.Schema, 3)
	if err != nil || valid.At(0) {
		t.Error("an empty cell is a null", err)
	}
	if blocks, err := read(t, rows, 1); err != nil || len(blocks) != 3 {
		t.Error(blocks, err)
	}
	if blocks, err := read(t, "", 100); err != nil || blocks != nil {
		t.Error(blocks, err)
	}
}

func TestTheFirstBadCellOfTheLowestRowIsTold(t *testing.T) {
	const good = "   1  -2.5abc true\n"
	for _, each := range []struct {
		text, code string
		row        uint64
		column     string
	}{
		{good + "   2   .5 abcmaybe\n", "bad-value", 1, "x"},
		{good + "       1.5abc true\n", "null-value", 1, "id"},
		{good + "   2   1.5a\xff  true\n", "bad-value", 1, "t"},
		{good + good + "   2   1.5abctrueX\n", "bad-value", 2, "on"},
		// A torn row is told before its cells, and after an earlier row's.
		{good + "   x  -2.5abc true ", "bad-row", 1, ""},
		{"   1  -2.5abcmaybe\n   x  -2.5abc true ", "bad-value", 0, "on"},
	} {
		_, err := read(t, each.text, 100)
		var problem *plinth.Problem
		if !errors.As(err, &problem) || problem.Code != each.code || problem.Row == nil || *problem.Row != each.row ||
			problem.Column != each.column {
			t.Errorf("%q: %v", each.text, err)
		}
	}
}

func TestWhatIsNoLayoutOrNoSourceOfItIsTold(t *testing.T) {
	check := func(options, code string) {
		t.Helper()
		plan, err := loader.Exported.Plan("fixed-width", uri, options)
		var problem *plinth.Problem
		if !errors.As(err, &problem) || problem.Code != code {
			t.Errorf("%s: %v, %v", options, plan, err)
		}
	}
	plinthtest.LendObject(t, uri, []byte(rows[1:]))
	check(options, "bad-source")
	column := `{"name": "a", "width": 3, "kind": "int64"}`
	check(`{"columns": []}`, "bad-options")
	check(`{"columns": [`+column+","+column+`]}`, "bad-options")
	check(`{"columns": [`+strings.Replace(column, "3", "0", 1)+`]}`, "bad-options")
	check(`{"columns": [`+strings.Replace(column, "int64", "binary", 1)+`]}`, "bad-options")
	check(`{"columns": [`+column+`], "partition-rows": 0}`, "bad-options")
	if _, err := loader.Exported.Open("fixed-width", uri, options, &plinth.Schema{}, make([]byte, 16)); err == nil {
		t.Error("another schema's partition was opened")
	}
}

func TestNumbersAreWhatTheirGrammarSays(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "-0": 0, "007": 7, "-9223372036854775808": math.MinInt64} {
		if value, ok := parseInt([]byte(text)); !ok || value != want {
			t.Error(text, value, ok)
		}
	}
	for _, text := range []string{
		"", "-", "+1", "1.0", "9223372036854775808", "1_0", "0x1", "--1", strings.Repeat("0", 512),
	} {
		if value, ok := parseInt([]byte(text)); ok {
			t.Error(text, value)
		}
	}
	for text, want := range map[string]float64{
		"1": 1, "-2.5": -2.5, "1e-7": 1e-7, "0.5e+3": 500, "5e-324": 5e-324, "1e-999": 0, strings.Repeat("0", 511): 0,
	} {
		if value, ok := parseFloat([]byte(text)); !ok || value != want {
			t.Error(text, value, ok)
		}
	}
	if value, ok := parseFloat([]byte("-0")); !ok || !math.Signbit(value) {
		t.Error("-0", value, ok)
	}
	for _, text := range []string{
		"", ".5", "5.", "1e", "1e+", "1E5", "nan", "inf", "1e999", "-1e309", "1 e5", "0x1p3", "1_0", strings.Repeat("1", 512),
	} {
		if value, ok := parseFloat([]byte(text)); ok {
			t.Error(text, value)
		}
	}
	if text := trimmed([]byte("  a b ")); string(text) != "a b" {
		t.Errorf("%q", text)
	}
	if text := trimmed([]byte("\ta")); string(text) != "\ta" {
		t.Errorf("%q", text)
	}
}
