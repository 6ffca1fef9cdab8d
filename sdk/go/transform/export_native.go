//go:build !wasip1

package transform

// Nothing is exported on your machine.
func export() {}
