package main

import "math"

// exp is e to the power x out of + - * and /, as a power of 2 and a series: math.Exp differs in its last bit between
// platforms. What is converted is rounded: a product may not be fused with the sum that it goes into.
func exp(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return x
	case x > 709.782712893384:
		return math.Inf(1)
	case x < -745.1332191019411:
		return 0
	}
	// x = k * ln 2 + r, with ln 2 in two parts, so that what is left has all its bits.
	k := math.Floor(float64(x*1.4426950408889634) + 0.5)
	r := x - float64(k*0.693145751953125) - float64(k*1.4286068203094172e-6)
	power := 1.0
	for n := 13.0; n > 0; n-- {
		power = 1 + float64(power*r)/n
	}
	return math.Ldexp(power, int(k))
}
