// Package drift exports drift tests: import it and call [Export] in an init function.
package drift

import "github.com/plinth-ml/plinth/sdk/go"

// Exported is what was given to [Export], for tests to call by name.
var Exported plinth.DriftTests

// Export makes a component of drift tests.
func Export(items ...plinth.DriftTestItem) {
	Exported = append(Exported, items...)
	export()
}
