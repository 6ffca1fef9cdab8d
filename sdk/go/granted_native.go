//go:build !wasip1

package plinth

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/plinth-ml/plinth/sdk/go/internal/lend"
)

// lent is what a test lent under a name.
func lent[T any](what string, all map[string]T, name string) (T, error) {
	value, ok := all[name]
	if !ok {
		return value, Errorf("denied", "no %s `%s` was lent", what, name)
	}
	return value, nil
}

func setting(key string) (string, bool) {
	value, ok := lend.Settings[key]
	return value, ok
}

func settings() map[string]string { return maps.Clone(lend.Settings) }

func storeGet(key string) ([]byte, bool, error) {
	value, ok := lend.Store[key]
	return slices.Clone(value), ok, nil
}

func storeSet(key string, value []byte) error {
	lend.Store[key] = slices.Clone(value)
	return nil
}

func storeSwap(key string, expected, value []byte) (bool, error) {
	kept, ok := lend.Store[key]
	if ok != (expected != nil) || !bytes.Equal(kept, expected) {
		return false, nil
	}
	return true, storeSet(key, value)
}

func storeDelete(key string) error {
	delete(lend.Store, key)
	return nil
}

func storeKeys(prefix, after string, most int) ([]string, error) {
	return page(lend.Store, prefix, after, most), nil
}

func send(request *Request) (*Response, error) {
	answer, err := lent("answer of", lend.Responses, request.URL)
	if err != nil {
		return nil, err
	}
	return answer.(func(*Request) (*Response, error))(request)
}

type hostGraph struct{ model Model }

func loadGraph(name string) (hostGraph, error) {
	model, err := lent("model", lend.Models, name)
	if err != nil {
		return hostGraph{}, err
	}
	return hostGraph{model.(Model)}, nil
}

func (h hostGraph) inputs() []TensorInfo { return h.model.Inputs() }

func (h hostGraph) outputs() []TensorInfo { return h.model.Outputs() }

func (h hostGraph) compute(inputs []Tensor) ([]Tensor, error) { return h.model.Compute(inputs...) }

func (h hostGraph) drop() {}

func nowUs() int64 { return 1_704_067_200_000_000 }

var monotonic, random atomic.Uint64

func monotonicNs() uint64 { return 1_000_000_000 + monotonic.Add(1_000) }

func randomBytes(length int) []byte {
	bytes := make([]byte, 0, length+8)
	for len(bytes) < length {
		bytes = binary.LittleEndian.AppendUint64(bytes, randomUint64())
	}
	return bytes[:length]
}

// randomUint64 is SplitMix64 of a fixed seed.
func randomUint64() uint64 {
	mixed := random.Add(0x9e3779b97f4a7c15)
	mixed = (mixed ^ mixed>>30) * 0xbf58476d1ce4e5b9
	mixed = (mixed ^ mixed>>27) * 0x94d049bb133111eb
	return mixed ^ mixed>>31
}

func secret(name string) (string, error) { return lent("secret", lend.Secrets, name) }
