package main

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// numberLen is the bytes of what is too long to be a number.
const numberLen = 512

// trimmed is a cell without the spaces at both ends, and no other white space.
func trimmed(cell []byte) []byte { return bytes.Trim(cell, " ") }

func isText(cell []byte) bool { return utf8.Valid(cell) }

// parseInt reads -?[0-9]+
func parseInt(cell []byte) (int64, bool) {
	text := string(cell)
	rest, ok := afterDigits(strings.TrimPrefix(text, "-"))
	if !ok || rest != "" || len(text) >= numberLen {
		return 0, false
	}
	value, err := strconv.ParseInt(text, 10, 64)
	return value, err == nil
}

// parseFloat reads -?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?, not beyond what float64 holds.
func parseFloat(cell []byte) (float64, bool) {
	text := string(cell)
	rest, ok := afterDigits(strings.TrimPrefix(text, "-"))
	if fraction, is := strings.CutPrefix(rest, "."); ok && is {
		rest, ok = afterDigits(fraction)
	}
	if exponent, is := strings.CutPrefix(rest, "e"); ok && is {
		if exponent != "" && (exponent[0] == '+' || exponent[0] == '-') {
			exponent = exponent[1:]
		}
		rest, ok = afterDigits(exponent)
	}
	if !ok || rest != "" || len(text) >= numberLen {
		return 0, false
	}
	value, err := strconv.ParseFloat(text, 64)
	return value, err == nil
}

// afterDigits is what follows one digit or more.
func afterDigits(text string) (rest string, ok bool) {
	rest = strings.TrimLeft(text, "0123456789")
	return rest, len(rest) < len(text)
}
