// Package loader exports loaders: import it and call [Export] in an init function.
package loader

import "github.com/plinth-ml/plinth/sdk/go"

// Exported is what was given to [Export], for tests to call by name.
var Exported plinth.Loaders

// Export makes a component of loaders.
func Export(items ...plinth.LoaderItem) {
	Exported = append(Exported, items...)
	export()
}
