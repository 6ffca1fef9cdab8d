package plinth

import (
	"math"
	"testing"
)

func TestNumbersLookAsInJavaScript(t *testing.T) {
	for _, each := range []struct {
		value float64
		text  string
	}{
		{0.1, "0.1"}, {-3, "-3"}, {math.Copysign(0, -1), "0"}, {1234567.125, "1234567.125"},
		{1e20, "100000000000000000000"}, {123456789012345680000, "123456789012345680000"}, {1e21, "1e+21"},
		{-1.5e21, "-1.5e+21"}, {1e-6, "0.000001"}, {1.5e-7, "1.5e-7"}, {1e-10, "1e-10"}, {5e-324, "5e-324"},
		{math.MaxFloat64, "1.7976931348623157e+308"}, {math.NaN(), "NaN"}, {math.Inf(1), "Infinity"},
		{math.Inf(-1), "-Infinity"},
	} {
		if text := Number(each.value); text != each.text {
			t.Errorf("%s, not %s", text, each.text)
		}
	}
}
