package plinthtest_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/plinth-ml/plinth/sdk/go"
	"github.com/plinth-ml/plinth/sdk/go/plinthtest"
)

func denied(t *testing.T, err error) {
	t.Helper()
	var problem *plinth.Problem
	if !errors.As(err, &problem) || problem.Code != "denied" {
		t.Error(err)
	}
}

func TestWhatATestLendsIsWhatTheCodeSees(t *testing.T) {
	plinthtest.LendSetting(t, "model", "small")
	if value, ok := plinth.Setting("model"); !ok || value != "small" || len(plinth.Settings()) != 1 {
		t.Error(value, ok)
	}
	if value, ok := plinth.Setting("mode"); ok {
		t.Error(value)
	}
	plinthtest.LendSecret(t, "key", "s3cret")
	if value, err := plinth.Secret("key"); err != nil || value != "s3cret" {
		t.Error(value, err)
	}
	_, err := plinth.Secret("other")
	denied(t, err)
	if plinth.Now().Year() != 2024 || plinth.Monotonic() >= plinth.Monotonic() {
		t.Error("the clock does not go")
	}
	if len(plinth.RandomBytes(3)) != 3 || plinth.RandomUint64() == plinth.RandomUint64() {
		t.Error("nothing is random")
	}
}

func TestWhatIsLentIsTakenBack(t *testing.T) {
	t.Run("lends", func(t *testing.T) { plinthtest.LendSecret(t, "gone", "x") })
	_, err := plinth.Secret("gone")
	denied(t, err)
}

func TestTheStoreKeepsWhatIsSet(t *testing.T) {
	plinthtest.EmptyStore(t)
	for _, key := range []string{"b", "a/2", "a/1", "a/3"} {
		if err := plinth.StoreSet(key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := plinth.StoreDelete("b"); err != nil {
		t.Error(err)
	}
	if value, ok, err := plinth.StoreGet("b"); ok || err != nil {
		t.Error(value, err)
	}
	if value, ok, err := plinth.StoreGet("a/1"); string(value) != "a/1" || !ok || err != nil {
		t.Error(value, ok, err)
	}
	if keys, err := plinth.StoreKeys("a/", "a/1", 1); err != nil || !slices.Equal(keys, []string{"a/2"}) {
		t.Error(keys, err)
	}
}

func TestRequestsAreAnswered(t *testing.T) {
	plinthtest.LendResponse(t, "https://a/", func(request *plinth.Request) (*plinth.Response, error) {
		return &plinth.Response{Status: 200, Headers: [][2]string{{"x-method", "yes"}}, Body: request.Body}, nil
	})
	answer, err := plinth.Send(&plinth.Request{Method: plinth.MethodPost, URL: "https://a/", Body: []byte("hi")})
	if err != nil || answer.Status != 200 || string(answer.Body) != "hi" || answer.Header("x-method") != "yes" ||
		answer.Header("x-none") != "" {
		t.Errorf("%+v, %v", answer, err)
	}
	_, err = plinth.Get("https://b/")
	denied(t, err)
}

type echo struct{}

func (echo) Inputs() []plinth.TensorInfo {
	return []plinth.TensorInfo{{Name: "x", Type: plinth.TensorFp32, Dimensions: []int64{-1}}}
}
func (e echo) Outputs() []plinth.TensorInfo                           { return e.Inputs() }
func (echo) Compute(inputs ...plinth.Tensor) ([]plinth.Tensor, error) { return inputs, nil }

func TestModelsCompute(t *testing.T) {
	plinthtest.LendModel(t, "echo", echo{})
	graph, err := plinth.LoadGraph("echo")
	if err != nil {
		t.Fatal(err)
	}
	defer graph.Close()
	outputs, err := graph.Compute(plinth.Tensor{Name: "x", Dimensions: []uint32{1}, Type: plinth.TensorUint8, Data: []byte{7}})
	if err != nil || outputs[0].Data[0] != 7 || graph.Inputs()[0].Name != "x" || len(graph.Outputs()) != 1 {
		t.Error(outputs, err)
	}
	_, err = plinth.LoadGraph("other")
	denied(t, err)
}

func TestASwapHappensOnlyWhereTheValueIsTheOneExpected(t *testing.T) {
	plinthtest.EmptyStore(t)
	swap := func(expected []byte, value string, wanted bool) {
		t.Helper()
		if swapped, err := plinth.StoreSwap("n", expected, []byte(value)); err != nil || swapped != wanted {
			t.Error(swapped, err)
		}
	}
	swap([]byte("0"), "1", false)
	swap(nil, "1", true)
	swap(nil, "2", false)
	swap([]byte("1"), "2", true)
	if value, _, err := plinth.StoreGet("n"); err != nil || string(value) != "2" {
		t.Error(string(value), err)
	}
}

func TestMoreObjectsThanAPageAreListed(t *testing.T) {
	for number := range 2001 {
		plinthtest.LendObject(t, fmt.Sprintf("many:///%04d", number), nil)
	}
	uris, err := plinth.ListObjects("many:///")
	if err != nil || len(uris) != 2001 || !slices.IsSorted(uris) {
		t.Error(len(uris), err)
	}
}

func TestObjectsAndTablesAreRead(t *testing.T) {
	plinthtest.LendObject(t, "file:///a", []byte("hello"))
	object, err := plinth.OpenObject("file:///a")
	if err != nil || object.Size() != 5 {
		t.Fatal(object, err)
	}
	if bytes, err := object.Read(3, 10); err != nil || string(bytes) != "lo" {
		t.Error(bytes, err)
	}
	if all, err := io.ReadAll(io.NewSectionReader(object, 1, 4)); err != nil || string(all) != "ello" {
		t.Error(all, err)
	}
	if uris, err := plinth.ListObjects("file:///"); err != nil || len(uris) != 1 {
		t.Error(uris, err)
	}
	schema := plinth.NewSchema(plinth.Field{Name: "x", Kind: plinth.Float64})
	plinthtest.LendTable(t, "data", schema, &plinth.Block{Rows: 1, F64s: []float64{2}})
	table, err := plinth.OpenTable("data")
	if err != nil || table.Schema() != schema {
		t.Fatal(table, err)
	}
	if block, err := table.Next(10); err != nil || block.F64s[0] != 2 {
		t.Error(block, err)
	}
	if _, err := table.Next(10); err != io.EOF {
		t.Error(err)
	}
}
