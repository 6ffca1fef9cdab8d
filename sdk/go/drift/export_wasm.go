//go:build wasip1

package drift

import (
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/export_plinth_drift_drift"
	_ "github.com/plinth-ml/plinth/sdk/go/internal/wit/wit_exports_drift"
)

func export() { export_plinth_drift_drift.Items = Exported }
