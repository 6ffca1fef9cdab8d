//go:build wasip1

package transform

import (
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/export_plinth_transform_transform"
	_ "github.com/plinth-ml/plinth/sdk/go/internal/wit/wit_exports_transform"
)

func export() { export_plinth_transform_transform.Items = Exported }
