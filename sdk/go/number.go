package plinth

import (
	"math"
	"strconv"
	"strings"
)

// Number is a number in the fewest digits that read back as the same, laid out as JavaScript does: 0.1, 3, 1e-7, 1.5e+21,
// NaN, -Infinity; zero of either sign is 0.
func Number(value float64) string {
	size := math.Abs(value)
	switch {
	case value == 0:
		return "0"
	case math.IsNaN(value):
		return "NaN"
	case math.IsInf(value, 1):
		return "Infinity"
	case math.IsInf(value, -1):
		return "-Infinity"
	case size >= 1e-6 && size < 1e21:
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
	// Go writes two digits of an exponent at least.
	text := strconv.FormatFloat(value, 'e', -1, 64)
	return strings.Replace(strings.Replace(text, "e-0", "e-", 1), "e+0", "e+", 1)
}
