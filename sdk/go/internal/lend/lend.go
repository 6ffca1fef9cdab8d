// Package lend holds what tests lend in place of the host.
package lend

// Table is a schema and its blocks, of the types of package plinth.
type Table struct{ Schema, Blocks any }

// What was lent, by URI, by name or by key. Responses are functions from a request, Models are models, of the types of
// package plinth.
var (
	Objects   = map[string][]byte{}
	Tables    = map[string]Table{}
	Settings  = map[string]string{}
	Store     = map[string][]byte{}
	Responses = map[string]any{}
	Models    = map[string]any{}
	Secrets   = map[string]string{}
)
