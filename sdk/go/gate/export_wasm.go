//go:build wasip1

package gate

import (
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/export_plinth_gate_gate"
	_ "github.com/plinth-ml/plinth/sdk/go/internal/wit/wit_exports_gate"
)

func export() { export_plinth_gate_gate.Items = Exported }
