//go:build !wasip1

package plinth

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/plinth-ml/plinth/sdk/go/internal/lend"
)

// Collect runs the garbage collector of a component if enough was allocated since it last ran. On your machine Go does.
func Collect() {}

func log(level Level, message string) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", [...]string{"trace", "debug", "info", "warn", "error"}[level], message)
}

type hostObject struct{ bytes []byte }

func openObject(uri string) (hostObject, uint64, error) {
	bytes, ok := lend.Objects[uri]
	if !ok {
		return hostObject{}, 0, Errorf("not-found", "no object `%s` was lent", uri)
	}
	return hostObject{bytes}, uint64(len(bytes)), nil
}

func (h hostObject) read(offset int64, length int) ([]byte, error) {
	start := min(max(offset, 0), int64(len(h.bytes)))
	return slices.Clone(h.bytes[start:min(start+int64(length), int64(len(h.bytes)))]), nil
}

func (h hostObject) drop() {}

func listObjects(prefix, after string, most int) ([]string, error) {
	return page(lend.Objects, prefix, after, most), nil
}

// page is at most so many of the names that begin with a prefix, sorted, of those after one.
func page[T any](lent map[string]T, prefix, after string, most int) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(lent)) {
		if strings.HasPrefix(name, prefix) && name > after && len(names) < most {
			names = append(names, name)
		}
	}
	return names
}

type hostTable struct{ blocks *[]*Block }

func openTable(name string) (hostTable, *Schema, error) {
	table, ok := lend.Tables[name]
	if !ok {
		return hostTable{}, nil, Errorf("not-found", "no table `%s` was lent", name)
	}
	blocks := slices.Clone(table.Blocks.([]*Block))
	return hostTable{&blocks}, table.Schema.(*Schema), nil
}

func (h hostTable) next(int) (*Block, error) {
	if len(*h.blocks) == 0 {
		return nil, io.EOF
	}
	block := (*h.blocks)[0]
	*h.blocks = (*h.blocks)[1:]
	return block, nil
}

func (h hostTable) drop() {}
