package plinth

import (
	"fmt"
	"io"
	"strings"
)

// Level is how much a message matters.
type Level uint8

const (
	// LevelTrace is for the plugin's author, very verbose.
	LevelTrace Level = iota
	// LevelDebug is for the plugin's author.
	LevelDebug
	// LevelInfo is for the operator.
	LevelInfo
	// LevelWarn says that something is odd; the call goes on.
	LevelWarn
	// LevelError says that something failed.
	LevelError
)

// Logf writes one message for the operator. Every plugin may.
func Logf(level Level, format string, arguments ...any) {
	log(level, strings.ToValidUTF8(fmt.Sprintf(format, arguments...), "\uFFFD"))
}

// Debugf writes a message for the plugin's author.
func Debugf(format string, arguments ...any) { Logf(LevelDebug, format, arguments...) }

// Infof writes a message for the operator.
func Infof(format string, arguments ...any) { Logf(LevelInfo, format, arguments...) }

// Warnf says that something is odd.
func Warnf(format string, arguments ...any) { Logf(LevelWarn, format, arguments...) }

// Object is an open source, within the prefixes that the operator granted. It does not change while it is open.
// Capability: objects.
type Object struct {
	size uint64
	host hostObject
}

// OpenObject opens a source by the URI that the plugin was given, or one below it.
func OpenObject(uri string) (*Object, error) {
	host, size, err := openObject(uri)
	if err != nil {
		return nil, err
	}
	return &Object{size, host}, nil
}

// Size is the object's size in bytes.
func (o *Object) Size() int64 { return int64(o.size) }

// Read is `length` bytes from an offset; fewer only at the end. They are not copied.
func (o *Object) Read(offset int64, length int) ([]byte, error) { return o.host.read(offset, length) }

// ReadAt makes an object an io.ReaderAt, for io.NewSectionReader and its like.
func (o *Object) ReadAt(into []byte, offset int64) (int, error) {
	if offset < 0 || offset >= o.Size() {
		return 0, io.EOF
	}
	bytes, err := o.Read(offset, len(into))
	if err != nil {
		return 0, err
	}
	read := copy(into, bytes)
	if read < len(into) {
		return read, io.EOF
	}
	return read, nil
}

// Close gives the object back; the host does so at the end of the instance.
func (o *Object) Close() { o.host.drop() }

// ListObjects is the URIs below a prefix, sorted. Capability: objects.
func ListObjects(prefix string) ([]string, error) {
	prefix = strings.Clone(prefix)
	var all []string
	after := ""
	for {
		// So many at a time; the host gives fewer where its limit is lower.
		page, err := listObjects(prefix, after, 1000)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return all, nil
		}
		all = append(all, page...)
		after = page[len(page)-1]
	}
}

// Table is a table that the host lends for the time of one call, read once from its start. Capability: tables.
type Table struct {
	schema *Schema
	host   hostTable
}

// OpenTable opens a lent table by name, such as `data` or `predictions`.
func OpenTable(name string) (*Table, error) {
	host, schema, err := openTable(name)
	if err != nil {
		return nil, err
	}
	return &Table{schema, host}, nil
}

// Schema is the table's columns.
func (t *Table) Schema() *Schema { return t.schema }

// Next is at most maxRows rows, or io.EOF at the end.
func (t *Table) Next(maxRows int) (*Block, error) { return t.host.next(maxRows) }

// Close gives the table back.
func (t *Table) Close() { t.host.drop() }
