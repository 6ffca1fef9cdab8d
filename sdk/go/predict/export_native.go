//go:build !wasip1

package predict

// Nothing is exported on your machine.
func export() {}
