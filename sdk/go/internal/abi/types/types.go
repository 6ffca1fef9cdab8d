// Package wit_types holds what the generated bindings call options and results.
package wit_types

// Tags of an [Option] and of a [Result].
const (
	OptionNone = 0
	OptionSome = 1

	ResultOk  = 0
	ResultErr = 1
)

// Unit is the type of nothing.
type Unit struct{}

// Option is a value that may be absent.
type Option[T any] struct {
	some  bool
	value T
}

// Some is an option with a value.
func Some[T any](value T) Option[T] { return Option[T]{true, value} }

// None is an option without one.
func None[T any]() Option[T] { return Option[T]{} }

// Tag is OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	if o.some {
		return OptionSome
	}
	return OptionNone
}

// Some is the value, or the zero value where there is none.
func (o Option[T]) Some() T { return o.value }

// FromPointer is an option of what may be nil.
func FromPointer[T any](value *T) Option[T] {
	if value == nil {
		return Option[T]{}
	}
	return Option[T]{true, *value}
}

// Pointer is nil where there is no value.
func (o Option[T]) Pointer() *T {
	if !o.some {
		return nil
	}
	return &o.value
}

// Result is a value or an error.
type Result[T, E any] struct {
	failed bool
	value  T
	err    E
}

// Ok is a result with a value.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{value: value} }

// Err is a result with an error.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{failed: true, err: err} }

// Tag is ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 {
	if r.failed {
		return ResultErr
	}
	return ResultOk
}

// Ok is the value, or the zero value where there is an error.
func (r Result[T, E]) Ok() T { return r.value }

// Err is the error, or the zero value where there is none.
func (r Result[T, E]) Err() E { return r.err }

// Tuple2 is two values.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}
