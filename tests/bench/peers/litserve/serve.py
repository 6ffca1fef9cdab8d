"""LitServe around ONNX Runtime: `serve.py MODEL PORT`.

One worker process, and its quicker queue, which its documentation wants from a hundred requests a second on.
"""

import sys

import litserve
import numpy
import onnxruntime


class Forest(litserve.LitAPI):
    def __init__(self, model):
        super().__init__()
        self.path = model

    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.path, options)

    def decode_request(self, request):
        return numpy.array(request["inputs"], numpy.float32)

    def predict(self, rows):
        return self.session.run(["probabilities"], {"X": rows})[0]

    def encode_response(self, probabilities):
        return {"probabilities": probabilities.tolist()}


if __name__ == "__main__":
    model, port = sys.argv[1:]
    server = litserve.LitServer(Forest(model), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(port), num_api_servers=1, log_level="error", access_log=False, generate_client_file=False
    )
