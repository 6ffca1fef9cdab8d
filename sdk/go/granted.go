package plinth

import "time"

// Setting is one of the plugin's own settings, given by the operator: a text as it was written, anything else as JSON.
// Every plugin may ask for them.
func Setting(key string) (value string, ok bool) { return setting(key) }

// Settings is all of the plugin's own settings.
func Settings() map[string]string { return settings() }

// StoreGet is the value of a key in the plugin's own small store. Capability: kv.
func StoreGet(key string) (value []byte, ok bool, err error) { return storeGet(key) }

// StoreSet sets a key, whole or not at all. Capability: kv.
func StoreSet(key string, value []byte) error { return storeSet(key, value) }

// StoreSwap sets a key if its value is still `expected`, or if it is not there where that is nil, and says whether it
// did. Instances run at the same time: to count, read a value, swap it, and begin again where another was faster.
// Capability: kv.
func StoreSwap(key string, expected, value []byte) (bool, error) {
	return storeSwap(key, expected, value)
}

// StoreDelete removes a key; one that is not there is no problem. Capability: kv.
func StoreDelete(key string) error { return storeDelete(key) }

// StoreKeys is at most so many keys that begin with a prefix, sorted, of those after `after`; it begins at the first
// where `after` is empty. The next page begins after the last key of this one. Capability: kv.
func StoreKeys(prefix, after string, most int) ([]string, error) {
	return storeKeys(prefix, after, most)
}

// Method is what a request asks for. Those after Head are granted by name.
type Method uint8

// Methods of requests.
const (
	MethodGet Method = iota
	MethodHead
	MethodPost
	MethodPut
	MethodPatch
	MethodDelete
)

// Request is a request to a host that the operator named.
type Request struct {
	// Method is MethodGet if it is not set.
	Method Method
	// URL is absolute, without user and password.
	URL string
	// Headers are names and values.
	Headers [][2]string
	// Body may be empty.
	Body []byte
}

// Response is the answer, whatever its status. Redirects are not followed.
type Response struct {
	// Status is such as 200.
	Status int
	// Headers are names in lower case, and values, in the order they came.
	Headers [][2]string
	// Body is the whole body.
	Body []byte
}

// Header is the first value of a header, by its name in lower case; empty where there is none.
func (r *Response) Header(name string) string {
	for _, header := range r.Headers {
		if header[0] == name {
			return header[1]
		}
	}
	return ""
}

// Get asks for a URL and waits for the whole answer. Capability: http.
func Get(url string) (*Response, error) { return Send(&Request{URL: url}) }

// Send sends a request and waits for the whole answer. Capability: http.
func Send(request *Request) (*Response, error) { return send(request) }

// TensorType is the type of a tensor's values, little-endian in its data.
type TensorType uint8

// Types of tensors.
const (
	TensorFp16 TensorType = iota
	TensorFp32
	TensorFp64
	TensorBf16
	TensorUint8
	TensorInt8
	TensorInt32
	TensorInt64
	// TensorBoolean is one byte a value, 0 or 1.
	TensorBoolean
	// TensorUtf8 is texts, each its length in bytes as a 4-byte integer and then its UTF-8.
	TensorUtf8
)

// TensorInfo is what a graph takes or gives.
type TensorInfo struct {
	// Name is its name in the graph.
	Name string
	// Type is the type of its values.
	Type TensorType
	// Dimensions is its shape; -1 for a dimension that may vary.
	Dimensions []int64
}

// Tensor is values with a name and a shape.
type Tensor struct {
	// Name is the input or output of the graph that it belongs to.
	Name string
	// Dimensions is its shape.
	Dimensions []uint32
	// Type is the type of its values.
	Type TensorType
	// Data is the values, row-major, without gaps.
	Data []byte
}

// Model is what a graph does; a test lends one with plinthtest.LendModel.
type Model interface {
	// Inputs is what it takes.
	Inputs() []TensorInfo
	// Outputs is what it gives.
	Outputs() []TensorInfo
	// Compute runs it once: every input by name, every output back.
	Compute(inputs ...Tensor) ([]Tensor, error)
}

// Graph is a model that the operator named, run by the host. Capability: nn.
type Graph struct{ host hostGraph }

// LoadGraph loads a granted model by the name that the operator gave it.
func LoadGraph(name string) (*Graph, error) {
	host, err := loadGraph(name)
	if err != nil {
		return nil, err
	}
	return &Graph{host}, nil
}

// Inputs is what the graph takes.
func (g *Graph) Inputs() []TensorInfo { return g.host.inputs() }

// Outputs is what the graph gives.
func (g *Graph) Outputs() []TensorInfo { return g.host.outputs() }

// Compute runs the graph once: every input by name, every output back. The wait counts in the deadline of the call.
func (g *Graph) Compute(inputs ...Tensor) ([]Tensor, error) { return g.host.compute(inputs) }

// Close gives the graph back; the host does so at the end of the instance.
func (g *Graph) Close() { g.host.drop() }

// Now is the time by the host's clock; it stands still in the deterministic profile. Capability: clock.
func Now() time.Time { return time.UnixMicro(nowUs()).UTC() }

// Monotonic is the time since some moment; it never falls. Capability: clock.
func Monotonic() time.Duration { return time.Duration(monotonicNs()) }

// RandomBytes is so many random bytes; always the same ones in the deterministic profile. Capability: random.
func RandomBytes(length int) []byte { return randomBytes(length) }

// RandomUint64 is a random number. Capability: random.
func RandomUint64() uint64 { return randomUint64() }

// Secret is the value of a secret that the operator granted. Capability: secrets.
func Secret(name string) (string, error) { return secret(name) }
