// Package transform exports transforms: import it and call [Export] in an init function.
package transform

import "github.com/plinth-ml/plinth/sdk/go"

// Exported is what was given to [Export], for tests to call by name.
var Exported plinth.Transforms

// Export makes a component of transforms.
func Export(items ...plinth.TransformItem) {
	Exported = append(Exported, items...)
	export()
}
