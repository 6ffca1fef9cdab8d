// Package plinthtest plays the host in tests of plugins, on your machine. What is lent is lent until the test ends, and to
// the whole process: tests that lend do not run in parallel.
package plinthtest

import (
	"testing"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/internal/lend"
)

// LendObject lends a source.
func LendObject(t testing.TB, uri string, bytes []byte) { put(t, lend.Objects, uri, bytes) }

// LendTable lends a table; each block is one answer of Next, whatever the number of rows asked for.
func LendTable(t testing.TB, name string, schema *plinth.Schema, blocks ...*plinth.Block) {
	put(t, lend.Tables, name, lend.Table{Schema: schema, Blocks: blocks})
}

// LendSetting sets one of the plugin's settings.
func LendSetting(t testing.TB, key, value string) { put(t, lend.Settings, key, value) }

// LendSecret lends a secret.
func LendSecret(t testing.TB, name, value string) { put(t, lend.Secrets, name, value) }

// LendResponse answers requests for a URL.
func LendResponse(t testing.TB, url string, answer func(*plinth.Request) (*plinth.Response, error)) {
	put(t, lend.Responses, url, any(answer))
}

// LendModel lends a model.
func LendModel(t testing.TB, name string, model plinth.Model) { put(t, lend.Models, name, any(model)) }

// EmptyStore empties the plugin's store now and when the test ends.
func EmptyStore(t testing.TB) {
	clear(lend.Store)
	t.Cleanup(func() { clear(lend.Store) })
}

func put[T any](t testing.TB, all map[string]T, name string, value T) {
	all[name] = value
	t.Cleanup(func() { delete(all, name) })
}
