//go:build wasip1

package predict

import (
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/export_plinth_predict_predict"
	_ "github.com/plinth-ml/plinth/sdk/go/internal/wit/wit_exports_predict"
)

func export() { export_plinth_predict_predict.Items = Exported }
