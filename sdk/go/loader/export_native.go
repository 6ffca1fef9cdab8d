//go:build !wasip1

package loader

// Nothing is exported on your machine.
func export() {}
