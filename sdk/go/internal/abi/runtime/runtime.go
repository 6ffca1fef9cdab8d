//go:build wasip1

// Package runtime is what the generated bindings need at run time: memory that the host may write to, handles, and the
// rule of when the garbage collector runs.
//
// The host asks for memory (cabi_realloc) in the middle of a call, and at that moment a component must not call out.
// The collector does call out, for the time, so it must never start by itself: it is switched off, and [Collect] runs
// it inside calls, where the SDK is about to hand control to an author's code or has just come back from the host.
//
// So nothing is collected between the moment in which the host asks for memory and the one in which the bindings have
// made Go values of it, nor while the host reads what a call returned: neither has to be pinned, which would take as long
// as the rest of a short call.
package runtime

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"unsafe"
)

// collectAfter is how many bytes may be allocated between two collections.
const collectAfter = 32 << 20

// lookAfter is how many calls, or bytes from the host, pass between two looks at what was allocated, since a look
// takes longer than a short call.
const (
	lookAfterCalls = 64
	lookAfterBytes = 1 << 20
)

var (
	ready     bool
	calls     int
	received  uintptr
	collected uint64
	sample    = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
)

func init() {
	debug.SetGCPercent(-1)
	ready = true
}

// Collect runs the garbage collector if enough was allocated since it last ran.
func Collect() {
	calls++
	if calls < lookAfterCalls && received < lookAfterBytes {
		return
	}
	calls, received = 0, 0
	metrics.Read(sample)
	if sample[0].Value.Uint64()-collected < collectAfter {
		return
	}
	// A collection whose goal is a heap of some size, followed by none: so the runtime finds that the heap may become as
	// large as it likes. After one that had no goal it wants to keep the heap's size, and gives memory back whenever the
	// heap grows beyond it, for which it looks at the time; and it grows where the host asks for memory.
	debug.SetGCPercent(100)
	runtime.GC()
	debug.SetGCPercent(-1)
	metrics.Read(sample)
	collected = sample[0].Value.Uint64()
}

// Pins is what keeps memory: a [runtime.Pinner], or [Unpinned].
type Pins interface{ Pin(memory any) }

// Unpinned keeps nothing: for what a call returns.
type Unpinned struct{}

// Pin does nothing.
func (*Unpinned) Pin(any) {}

// Allocate makes memory that stays until it is unpinned, or until the next collection.
func Allocate(pins Pins, size, align uintptr) unsafe.Pointer {
	memory := allocate(size, align)
	if size > 0 {
		pins.Pin(memory)
	}
	return memory
}

func allocate(size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	switch align {
	case 1:
		return unsafe.Pointer(unsafe.SliceData(make([]uint8, size)))
	case 2:
		return unsafe.Pointer(unsafe.SliceData(make([]uint16, (size+1)/2)))
	case 4:
		return unsafe.Pointer(unsafe.SliceData(make([]uint32, (size+3)/4)))
	default:
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	}
}

// Unpin is where the bindings let go of what the host was given: it is not held.
func Unpin() {}

// early is memory for what the WASI adapter asks for before Go has started.
var (
	early     [192 << 10]byte
	earlyUsed uintptr
)

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if ready {
		memory := allocate(size, align)
		if oldSize > 0 {
			copy(unsafe.Slice((*byte)(memory), size), unsafe.Slice((*byte)(old), min(oldSize, size)))
		}
		received += size
		return memory
	}
	start := (uintptr(unsafe.Pointer(&early)) + earlyUsed + align - 1) &^ (align - 1)
	earlyUsed = start + size - uintptr(unsafe.Pointer(&early))
	if earlyUsed > uintptr(len(early)) {
		panic("out of early memory")
	}
	return unsafe.Pointer(start)
}

// Handle is a handle of a resource of the host.
type Handle struct{ value int32 }

// MakeHandle holds a handle.
func MakeHandle(value int32) *Handle { return &Handle{value} }

// Use is the handle, to lend.
func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("used after it was closed")
	}
	return h.value
}

// Take is the handle, to give away.
func (h *Handle) Take() int32 {
	value := h.Use()
	h.value = 0
	return value
}

// TakeOrNil is the handle, to give away, or 0.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}

// Set holds another handle.
func (h *Handle) Set(value int32) { h.value = value }

// live keeps what the host holds a handle of.
var live = map[any]struct{}{}

// Keep keeps a resource until [Forget].
func Keep(resource any) { live[resource] = struct{}{} }

// Forget lets go of a resource that the host dropped.
func Forget(resource any) { delete(live, resource) }
