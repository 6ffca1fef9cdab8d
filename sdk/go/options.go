package plinth

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// NoOptions is the type of the options of an item that takes none.
type NoOptions struct{}

// optionsSchema is the JSON Schema of a type of options, made of its fields and their tags:
//
//	Bins int `json:"bins" default:"10" min:"2" max:"100" doc:"Number of bins"`
//
// A field must be given unless it is a pointer, has a default, or says omitempty. The tags min and max bound a number or
// the length of a list or a text, above is a bound that a number must exceed, and enum lists what a text may be,
// separated by commas. A field of another type is described by a method JSONSchema() string on its type. [ParseOptions]
// holds to all of it, in structs within lists too.
func optionsSchema(options reflect.Type) string {
	var out strings.Builder
	writeSchema(&out, options)
	return out.String()
}

// described is a type that writes its own JSON Schema.
type described interface{ JSONSchema() string }

func writeSchema(out *strings.Builder, of reflect.Type) {
	if own, ok := reflect.New(of).Interface().(described); ok {
		out.WriteString(own.JSONSchema())
		return
	}
	switch of.Kind() {
	case reflect.Pointer:
		writeSchema(out, of.Elem())
	case reflect.Bool:
		out.WriteString(`{"type":"boolean"}`)
	case reflect.String:
		out.WriteString(`{"type":"string"}`)
	case reflect.Float32, reflect.Float64:
		out.WriteString(`{"type":"number"}`)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		out.WriteString(`{"type":"integer"}`)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		out.WriteString(`{"type":"integer","minimum":0}`)
	case reflect.Slice, reflect.Array:
		out.WriteString(`{"type":"array","items":`)
		writeSchema(out, of.Elem())
		out.WriteString(`}`)
	case reflect.Map:
		out.WriteString(`{"type":"object","additionalProperties":`)
		writeSchema(out, of.Elem())
		out.WriteString(`}`)
	case reflect.Struct:
		writeObject(out, of)
	default:
		out.WriteString(`{}`)
	}
}

func writeObject(out *strings.Builder, of reflect.Type) {
	var required []string
	out.WriteString(`{"type":"object","properties":{`)
	for index, option := range optionsOf(of) {
		if index > 0 {
			out.WriteString(",")
		}
		out.WriteString(quoted(option.name) + ":")
		var own strings.Builder
		writeSchema(&own, option.field.Type)
		schema := own.String()
		tag := option.field.Tag
		words := [...][2]string{{"min", "minimum"}, {"max", "maximum"}, {"above", "exclusiveMinimum"}, {"default", "default"}}
		switch option.field.Type.Kind() {
		case reflect.Slice:
			words[0][1], words[1][1] = "minItems", "maxItems"
		case reflect.String:
			words[0][1], words[1][1] = "minLength", "maxLength"
		}
		for _, word := range words {
			if value, ok := tag.Lookup(word[0]); ok {
				schema = with(schema, word[1], asJSON(value))
			}
		}
		if values, ok := tag.Lookup("enum"); ok {
			words := strings.Split(values, ",")
			for index, word := range words {
				words[index] = quoted(word)
			}
			schema = with(schema, "enum", "["+strings.Join(words, ",")+"]")
		}
		if doc, ok := tag.Lookup("doc"); ok {
			schema = with(schema, "description", quoted(doc))
		}
		out.WriteString(schema)
		if option.required {
			required = append(required, quoted(option.name))
		}
	}
	out.WriteString(`}`)
	if required != nil {
		out.WriteString(`,"required":[` + strings.Join(required, ",") + `]`)
	}
	out.WriteString(`,"additionalProperties":false}`)
}

// with adds a key to the text of a JSON object.
func with(object, key, value string) string {
	body := strings.TrimSuffix(object, "}")
	if body != "{" {
		body += ","
	}
	return body + quoted(key) + ":" + value + "}"
}

func quoted(text string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text)
	return strings.TrimSuffix(out.String(), "\n")
}

// asJSON is a tag's value as JSON: what is none is a text.
func asJSON(value string) string {
	if json.Valid([]byte(value)) {
		return value
	}
	return quoted(value)
}

type option struct {
	name     string
	required bool
	field    reflect.StructField
}

func optionsOf(of reflect.Type) []option {
	if known, ok := optionsKnown.Load(of); ok {
		return known.([]option)
	}
	var options []option
	for _, field := range reflect.VisibleFields(of) {
		name, rest, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || field.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		_, preset := field.Tag.Lookup("default")
		optional := preset || field.Type.Kind() == reflect.Pointer || strings.Contains(","+rest+",", ",omitempty,") ||
			strings.Contains(","+rest+",", ",omitzero,")
		options = append(options, option{name, !optional, field})
	}
	optionsKnown.Store(of, options)
	return options
}

// optionsKnown has what was found of a type: a list of a hundred thousand has the same for each.
var optionsKnown sync.Map
