//go:build wasip1

package plinth

import (
	"github.com/plinth-ml/plinth/sdk/go/internal/abi/runtime"
	witTypes "github.com/plinth-ml/plinth/sdk/go/internal/abi/types"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_clock"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_config"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_http"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_kv"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_nn"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_random"
	"github.com/plinth-ml/plinth/sdk/go/internal/wit/plinth_host_secrets"
)

func setting(key string) (string, bool) {
	value := plinth_host_config.Get(key)
	runtime.Unpin()
	return value.Some(), value.Tag() == witTypes.OptionSome
}

func settings() map[string]string {
	all := plinth_host_config.GetAll()
	runtime.Unpin()
	values := make(map[string]string, len(all))
	for _, pair := range all {
		values[pair.F0] = pair.F1
	}
	return values
}

func storeGet(key string) ([]byte, bool, error) {
	value, err := returned(plinth_host_kv.Get(key))
	return value.Some(), value.Tag() == witTypes.OptionSome, err
}

func storeSet(key string, value []byte) error {
	_, err := returned(plinth_host_kv.Set(key, value))
	return err
}

func storeSwap(key string, expected []byte, value []byte) (bool, error) {
	given := witTypes.None[[]uint8]()
	if expected != nil {
		given = witTypes.Some(expected)
	}
	return returned(plinth_host_kv.Swap(key, given, value))
}

func storeDelete(key string) error {
	_, err := returned(plinth_host_kv.Delete(key))
	return err
}

func storeKeys(prefix, after string, most int) ([]string, error) {
	return returned(plinth_host_kv.ListKeys(prefix, optional(after), uint32(most)))
}

func send(request *Request) (*Response, error) {
	headers := make([]witTypes.Tuple2[string, string], len(request.Headers))
	for index, header := range request.Headers {
		headers[index] = witTypes.Tuple2[string, string]{F0: header[0], F1: header[1]}
	}
	response, err := returned(plinth_host_http.Send(plinth_host_http.Request{
		Method: uint8(request.Method), Url: request.URL, Headers: headers, Body: request.Body,
	}))
	if err != nil {
		return nil, err
	}
	answer := &Response{int(response.Status), make([][2]string, len(response.Headers)), response.Body}
	for index, header := range response.Headers {
		answer.Headers[index] = [2]string{header.F0, header.F1}
	}
	return answer, nil
}

type hostGraph struct{ graph *plinth_host_nn.Graph }

func loadGraph(name string) (hostGraph, error) {
	graph, err := returned(plinth_host_nn.LoadByName(name))
	return hostGraph{graph}, err
}

func (h hostGraph) inputs() []TensorInfo { return infos(h.graph.Inputs()) }

func (h hostGraph) outputs() []TensorInfo { return infos(h.graph.Outputs()) }

func (h hostGraph) compute(inputs []Tensor) ([]Tensor, error) {
	given := make([]plinth_host_nn.Tensor, len(inputs))
	for index, tensor := range inputs {
		given[index] = plinth_host_nn.Tensor{
			Name: tensor.Name, Dimensions: tensor.Dimensions, Ty: uint8(tensor.Type), Data: tensor.Data,
		}
	}
	computed, err := returned(h.graph.Compute(given))
	if err != nil {
		return nil, err
	}
	outputs := make([]Tensor, len(computed))
	for index, tensor := range computed {
		outputs[index] = Tensor{tensor.Name, tensor.Dimensions, TensorType(tensor.Ty), tensor.Data}
	}
	return outputs, nil
}

func (h hostGraph) drop() { h.graph.Drop() }

func infos(from []plinth_host_nn.TensorInfo) []TensorInfo {
	runtime.Unpin()
	infos := make([]TensorInfo, len(from))
	for index, info := range from {
		infos[index] = TensorInfo{info.Name, TensorType(info.Ty), info.Dimensions}
	}
	return infos
}

func nowUs() int64 { return plinth_host_clock.NowUs() }

func monotonicNs() uint64 { return plinth_host_clock.MonotonicNs() }

func randomBytes(length int) []byte {
	bytes := plinth_host_random.GetBytes(uint32(length))
	runtime.Unpin()
	return bytes
}

func randomUint64() uint64 { return plinth_host_random.GetU64() }

func secret(name string) (string, error) { return returned(plinth_host_secrets.Get(name)) }
