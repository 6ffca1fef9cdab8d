package plinth

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
)

type layout struct {
	Columns []struct {
		Name     string `json:"name" min:"1" max:"3"`
		Width    int    `json:"width" min:"1"`
		Kind     Kind   `json:"kind" enum:"int64,utf8"`
		Nullable bool   `json:"nullable" default:"true"`
	} `json:"columns" min:"1" doc:"What a record <holds>"`
	Rows   uint16         `json:"rows" default:"7" max:"100"`
	Rate   *float64       `json:"rate" above:"0"`
	Mode   string         `json:"mode,omitempty" enum:"fast,exact"`
	Labels map[string]int `json:"labels,omitempty"`
}

func TestOptionsAreReadByTheirTags(t *testing.T) {
	options, err := ParseOptions[layout](`{"columns": [{"name": "ä", "width": 3.0, "kind": "int64"},
		{"name": "b", "width": 2, "kind": "utf8", "nullable": false}], "rate": 2, "mode": "fast", "labels": {"a": 1}}`)
	if err != nil {
		t.Fatal(err)
	}
	first, second := options.Columns[0], options.Columns[1]
	if first.Name != "ä" || first.Width != 3 || first.Kind != Int64 || !first.Nullable || second.Nullable {
		t.Errorf("%+v", options.Columns)
	}
	if options.Rows != 7 || *options.Rate != 2 || options.Mode != "fast" || options.Labels["a"] != 1 {
		t.Errorf("%+v", options)
	}
	if none, err := ParseOptions[struct{ A *int }](""); err != nil || none.A != nil {
		t.Error(none, err)
	}
	type whole struct {
		N int64 `json:"n"`
	}
	if large, err := ParseOptions[whole](`{"n": 9007199254740993}`); err != nil || large.N != 9007199254740993 {
		t.Error(large, err)
	}
}

func TestWhatIsWrongWithOptionsIsToldByName(t *testing.T) {
	const good = `"columns": [{"name": "a", "width": 1, "kind": "utf8"}]`
	for text, message := range map[string]string{
		`[1]`:                                  "bad options: it is a list, and an object is wanted",
		`null`:                                 "bad options: it is null, and an object is wanted",
		`{"a": }`:                              "bad options: invalid character '}' looking for beginning of value",
		`{}`:                                   "option `columns`: it is missing",
		`{"columns": []}`:                      "option `columns`: its length is 0; it must be at least 1",
		`{"columns": null}`:                    "option `columns`: it is null, and a list is wanted",
		`{"columns": [{}]}`:                    "option `columns[0].name`: it is missing",
		`{` + good + `, "rows": 101}`:          "option `rows`: it is 101; it must be at most 100",
		`{` + good + `, "rows": 70000}`:        "option `rows`: it is 70000, and a whole number in range is wanted",
		`{` + good + `, "rows": 2.5}`:          "option `rows`: it is 2.5, and a whole number in range is wanted",
		`{` + good + `, "rows": null}`:         "option `rows`: it is null",
		`{` + good + `, "mode": 3}`:            "option `mode`: it is a number, and a text is wanted",
		`{` + good + `, "rate": 0}`:            "option `rate`: it is 0; it must be more than 0",
		`{` + good + `, "mode": "quick"}`:      "option `mode`: it is `quick`; it must be one of fast,exact",
		`{` + good + `, "Rows": 1}`:            "unknown option `Rows`, did you mean `rows`?",
		`{` + good + `, "z": 1, "moed": 1}`:    "unknown option `moed`",
		`{` + good + `, "rows": 1, "rows": 1}`: "option `rows`: it is given twice",
		`{"columns": [{"name": "", "width": 1, "kind": "utf8"}]}`:             "option `columns[0].name`: its length is 0; it must be at least 1",
		`{"columns": [{"name": "äöüß", "width": 1, "kind": "utf8"}]}`:         "option `columns[0].name`: its length is 4; it must be at most 3",
		`{"columns": [{"name": "a", "width": 0, "kind": "utf8"}]}`:            "option `columns[0].width`: it is 0; it must be at least 1",
		`{"columns": [{"name": "a", "width": 1, "kind": "float64"}]}`:         "option `columns[0].kind`: it is `float64`; it must be one of int64,utf8",
		`{"columns": [{"name": "a", "width": 1, "kind": "utf8", "widh": 1}]}`: "unknown option `columns[0].widh`, did you mean `width`?",
	} {
		_, err := ParseOptions[layout](text)
		var problem *Problem
		if !errors.As(err, &problem) || problem.Code != "bad-options" || problem.Message != message {
			t.Errorf("%s: %v, not %s", text, err, message)
		}
	}
}

func TestJSONThatIsNoOptionsIsReadAsStrictly(t *testing.T) {
	type shape struct {
		Sides []struct {
			Length float64 `json:"length"`
		} `json:"sides"`
		Name string `json:"name" default:"none"`
	}
	read, err := ParseJSON[shape]([]byte(`{"sides": [{"length": 0.1}, {"length": -3}]}`))
	if err != nil || len(read.Sides) != 2 || read.Sides[0].Length != 0.1 || read.Name != "none" {
		t.Error(read, err)
	}
	for text, message := range map[string]string{
		``:                                      "unexpected end of JSON input",
		`{"sides": []} x`:                       "invalid character 'x' after top-level value",
		`{}`:                                    "`sides`: it is missing",
		`{"sides": null}`:                       "`sides`: it is null, and a list is wanted",
		`{"Sides": [], "sides": []}`:            "unknown name `Sides`, did you mean `sides`?",
		`{"sides": [], "sides": []}`:            "`sides`: it is given twice",
		`{"sides": [{"length": "1"}]}`:          "`sides[0].length`: it is a text, and a number is wanted",
		`{"sides": [{"length": 1e999}]}`:        "`sides[0].length`: it is 1e999, and a number is wanted",
		`{"sides": [{"length": 1, "wide": 1}]}`: "unknown name `sides[0].wide`",
		"{\"sides\": [], \"name\": \"\xff\"}":   "it is not UTF-8",
	} {
		_, err := ParseJSON[shape]([]byte(text))
		var problem *Problem
		if err == nil || errors.As(err, &problem) || err.Error() != message {
			t.Errorf("%s: %v, not %s", text, err, message)
		}
	}
}

func TestTheSchemaSaysWhatTheTagsSay(t *testing.T) {
	const want = `{"type":"object","properties":{
		"columns":{"type":"array","minItems":1,"description":"What a record <holds>","items":{"type":"object","properties":{
			"name":{"type":"string","minLength":1,"maxLength":3},"width":{"type":"integer","minimum":1},
			"kind":{"type":"string","enum":["int64","utf8"]},"nullable":{"type":"boolean","default":true}},
			"required":["name","width","kind"],"additionalProperties":false}},
		"rows":{"type":"integer","minimum":0,"maximum":100,"default":7},
		"rate":{"type":"number","exclusiveMinimum":0},"mode":{"type":"string","enum":["fast","exact"]},
		"labels":{"type":"object","additionalProperties":{"type":"integer"}}},
		"required":["columns"],"additionalProperties":false}`
	var made, wanted any
	schema := optionsSchema(reflect.TypeFor[layout]())
	if err := json.Unmarshal([]byte(schema), &made); err != nil {
		t.Fatal(err, schema)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(made, wanted) {
		t.Error(schema)
	}
}

func TestDistancesAreEdits(t *testing.T) {
	if distance("kitten", "sitting") != 3 || distance("", "abc") != 3 || nearest("zzz", []string{"abc"}) != "" {
		t.Error("distances are wrong")
	}
}
