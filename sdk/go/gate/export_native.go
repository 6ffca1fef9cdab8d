//go:build !wasip1

package gate

// Nothing is exported on your machine.
func export() {}
