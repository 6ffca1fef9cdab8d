//go:build wasip1

package loader

import (
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/export_plinth_loader_loader"
	_ "github.com/plinth-ml/plinth/sdk/go/internal/wit/wit_exports_loader"
)

func export() { export_plinth_loader_loader.Items = Exported }
