// A gate that misbehaves on command: the option `deed` is the misdeed.
package main

import (
	"strings"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/gate"
)

func init() {
	gate.Export(plinth.NewGate("misdeeds", "Misbehaves on command", Misdeeds{}))
}

func main() {}

// Misdeeds is the gate.
type Misdeeds struct{}

// Options is what it takes.
type Options struct {
	Deed *string `json:"deed"`
}

var held [][]byte

// Evaluate does what it is told.
func (Misdeeds) Evaluate(_ *plinth.Evidence, options Options) ([]plinth.Check, error) {
	observed, deed := "nothing", "good"
	if options.Deed != nil {
		deed = *options.Deed
	}
	switch deed {
	case "loop":
		for {
		}
	case "bomb":
		for {
			block := make([]byte, 1<<20)
			for at := range block {
				block[at] = 1
			}
			held = append(held, block)
		}
	case "flood":
		for range 20_000 {
			plinth.Infof("%s", strings.Repeat("x", 1_000))
		}
	case "lie": // more than any gate may return
		observed = strings.Repeat("x", 48<<20)
	case "crash":
		panic("evil crash on command")
	}
	return []plinth.Check{{Name: "behaves", Outcome: plinth.Pass, Observed: observed, Expected: "nothing"}}, nil
}
