package plinth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseOptions reads options of a JSON text; an empty text stands for `{}`. The problem is "bad-options": it names the
// option that is missing, of another type, out of its bounds, or unknown.
func ParseOptions[O any](text string) (O, error) {
	var options O
	if strings.TrimSpace(text) == "" {
		text = "{}"
	}
	return options, badOptions(read("", []byte(text), reflect.ValueOf(&options).Elem()))
}

// ParseJSON reads JSON of any other origin, such as the artifact of a model, by the tags that options have and as
// strictly. The error is no [Problem]: make one of it, with a code of your own.
func ParseJSON[T any](text []byte) (T, error) {
	var value T
	// Package json would replace what is no UTF-8, and a name would be another one.
	if !utf8.Valid(text) {
		return value, wrong("", "it is not UTF-8")
	}
	if depth, _ := shape(text); depth > nestedMax {
		return value, wrong("", fmt.Sprintf("it is nested more than %d deep", nestedMax))
	}
	return value, read("", text, reflect.ValueOf(&value).Elem())
}

// read sets a value of options from JSON. The path says where it is, such as "columns[1].width".
func read(path string, text []byte, into reflect.Value) error {
	if _, own := into.Addr().Interface().(json.Unmarshaler); own {
		return decode(path, text, into)
	}
	switch into.Kind() {
	case reflect.Pointer:
		if string(text) == "null" {
			return nil
		}
		into.Set(reflect.New(into.Type().Elem()))
		return read(path, text, into.Elem())
	case reflect.Struct:
		return readObject(path, text, into)
	case reflect.Slice:
		var elements []json.RawMessage
		if err := decode(path, text, reflect.ValueOf(&elements).Elem()); err != nil {
			return err
		}
		if elements == nil {
			return wrong(path, "it is null, and a list is wanted")
		}
		into.Set(reflect.MakeSlice(into.Type(), len(elements), len(elements)))
		for index, element := range elements {
			if err := read(fmt.Sprintf("%s[%d]", path, index), element, into.Index(index)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		// JSON tells 3 from 3.0 only in spelling, and so JSON Schema takes both as integers; package json would not.
		if whole, err := strconv.ParseFloat(string(text), 64); err == nil && strings.ContainsAny(string(text), ".eE") &&
			whole == math.Trunc(whole) && math.Abs(whole) <= 9e15 {
			text = strconv.AppendInt(nil, int64(whole), 10)
		}
	}
	if string(text) == "null" && into.Kind() != reflect.Map && into.Kind() != reflect.Interface {
		return wrong(path, "it is null")
	}
	return decode(path, text, into)
}

// readObject sets a struct from an object, by the tags of its fields.
func readObject(path string, text []byte, into reflect.Value) error {
	var given map[string]json.RawMessage
	if err := decode(path, text, reflect.ValueOf(&given).Elem()); err != nil {
		return err
	}
	if given == nil {
		return wrong(path, "it is null, and an object is wanted")
	}
	if _, names := shape(text); names > len(given) {
		name := twice(text)
		return wrong(strings.TrimPrefix(path+"."+name, "."), "it is given twice")
	}
	var names []string
	for _, option := range optionsOf(into.Type()) {
		names = append(names, option.name)
		below := strings.TrimPrefix(path+"."+option.name, ".")
		text, ok := given[option.name]
		if preset, has := option.field.Tag.Lookup("default"); !ok && has {
			text, ok = []byte(asJSON(preset)), true
		}
		if !ok && option.required {
			return wrong(below, "it is missing")
		}
		if !ok {
			continue
		}
		field := into.FieldByIndex(option.field.Index)
		if err := read(below, text, field); err != nil {
			return err
		}
		if why := outside(option.field.Tag, field); why != "" {
			return wrong(below, why)
		}
	}
	// In order, so that the same options are always the same problem.
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(names, name) {
			return &misread{strings.TrimPrefix(path+"."+name, "."), nearest(name, names), true}
		}
	}
	return nil
}

// nestedMax is how deep JSON may be nested: package json goes down by calling itself, and a component's stack is small.
const nestedMax = 128

// shape is how deep a JSON text is nested, and how many names its outermost object has.
func shape(text []byte) (depth, names int) {
	open, quoted := 0, false
	for at := 0; at < len(text); at++ {
		switch character := text[at]; {
		case quoted && character == '\\':
			at++
		case character == '"':
			quoted = !quoted
		case quoted:
		case character == '{' || character == '[':
			open++
			depth = max(depth, open)
		case character == '}' || character == ']':
			open--
		case character == ':' && open == 1:
			names++
		}
	}
	return depth, names
}

// twice is a name that a JSON object has more than once. Package json would take the last.
func twice(object []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(object))
	seen := map[json.Token]bool{}
	_, err := decoder.Token()
	for err == nil && decoder.More() {
		var name json.Token
		if name, err = decoder.Token(); seen[name] {
			return fmt.Sprint(name)
		}
		seen[name] = true
		var value json.RawMessage
		err = decoder.Decode(&value)
	}
	return ""
}

// outside is why a value is not within the bounds of its tags, or nothing where it is.
func outside(tag reflect.StructTag, value reflect.Value) string {
	if words, ok := tag.Lookup("enum"); ok && value.Kind() != reflect.Pointer {
		if shown := fmt.Sprint(value.Interface()); !slices.Contains(strings.Split(words, ","), shown) {
			return fmt.Sprintf("it is `%s`; it must be one of %s", shown, words)
		}
		return ""
	}
	var size float64
	noun, shown := "it", ""
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			return ""
		}
		return outside(tag, value.Elem())
	case reflect.Slice, reflect.String:
		length := value.Len()
		if value.Kind() == reflect.String {
			length = utf8.RuneCountInString(value.String())
		}
		size, noun, shown = float64(length), "its length", strconv.Itoa(length)
	default:
		switch {
		case value.CanInt():
			size, shown = float64(value.Int()), strconv.FormatInt(value.Int(), 10)
		case value.CanUint():
			size, shown = float64(value.Uint()), strconv.FormatUint(value.Uint(), 10)
		case value.CanFloat():
			size, shown = value.Float(), Number(value.Float())
		default:
			return ""
		}
	}
	bounds := []struct {
		tag, words string
		holds      func(bound float64) bool
	}{
		{"min", "at least", func(bound float64) bool { return size >= bound }},
		{"max", "at most", func(bound float64) bool { return size <= bound }},
		{"above", "more than", func(bound float64) bool { return size > bound }},
	}
	for _, each := range bounds {
		text, ok := tag.Lookup(each.tag)
		if bound, err := strconv.ParseFloat(text, 64); ok && err == nil && !each.holds(bound) {
			return fmt.Sprintf("%s is %s; it must be %s %s", noun, shown, each.words, text)
		}
	}
	return ""
}

func decode(path string, text []byte, into reflect.Value) error {
	err := json.Unmarshal(text, into.Addr().Interface())
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch):
		is := strings.TrimPrefix(mismatch.Value, "number ")
		if words, ok := map[string]string{"number": "a number", "string": "a text", "bool": "true or false", "array": "a list", "object": "an object"}[is]; ok {
			is = words
		}
		return wrong(path, fmt.Sprintf("it is %s, and %s is wanted", is, wanted(mismatch.Type.Kind())))
	case err != nil:
		return wrong(path, err.Error())
	}
	return nil
}

// wanted is what JSON has to hold for a kind of Go's.
func wanted(kind reflect.Kind) string {
	switch kind {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	default:
		return "a whole number in range"
	}
}

// misread is what is wrong with a JSON text: the value at a path, the whole where there is none, or a name that nothing
// has, with the nearest that something has.
type misread struct {
	path, why string
	unknown   bool
}

func wrong(path, why string) error { return &misread{path, why, false} }

func (m *misread) Error() string {
	switch {
	case m.unknown:
		return fmt.Sprintf("unknown name `%s`%s", m.path, m.why)
	case m.path == "":
		return m.why
	default:
		return fmt.Sprintf("`%s`: %s", m.path, m.why)
	}
}

// badOptions is the problem of options that were misread.
func badOptions(err error) error {
	var misread *misread
	switch {
	case !errors.As(err, &misread):
		return err
	case misread.unknown:
		return Errorf("bad-options", "unknown option `%s`%s", misread.path, misread.why)
	case misread.path == "":
		return Errorf("bad-options", "bad options: %s", misread.why)
	default:
		return Errorf("bad-options", "option `%s`: %s", misread.path, misread.why)
	}
}
