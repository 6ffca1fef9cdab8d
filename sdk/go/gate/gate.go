// Package gate exports gates: import it and call [Export] in an init function.
package gate

import "github.com/plinth-ml/plinth/sdk/go"

// Exported is what was given to [Export], for tests to call by name.
var Exported plinth.Gates

// Export makes a component of gates.
func Export(items ...plinth.GateItem) {
	Exported = append(Exported, items...)
	export()
}
