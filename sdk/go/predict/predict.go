// Package predict exports models: import it and call [Export] in an init function.
package predict

import "github.com/plinth-ml/plinth/sdk/go"

// Exported is what was given to [Export], for tests to call by name.
var Exported plinth.Models

// Export makes a component of models.
func Export(items ...plinth.ModelItem) {
	Exported = append(Exported, items...)
	export()
}
