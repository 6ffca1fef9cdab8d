//go:build !wasip1

package drift

// Nothing is exported on your machine.
func export() {}
