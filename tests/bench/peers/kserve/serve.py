"""KServe's Python model server around ONNX Runtime: `serve.py MODEL PORT`.

One worker, the Open Inference Protocol, without gRPC and without its line of log for each request.
"""

import sys

import kserve
import onnxruntime
from kserve.utils.utils import generate_uuid


class Forest(kserve.Model):
    def __init__(self, model):
        super().__init__("forest")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options)
        self.ready = True

    async def predict(self, payload: kserve.InferRequest, headers=None, response_headers=None) -> kserve.InferResponse:
        [probabilities] = self.session.run(["probabilities"], {"X": payload.inputs[0].as_numpy()})
        output = kserve.InferOutput("probabilities", list(probabilities.shape), "FP32")
        output.set_data_from_numpy(probabilities, binary_data=False)
        return kserve.InferResponse(response_id=generate_uuid(), model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    model, port = sys.argv[1:]
    # The server reads the program's arguments too.
    sys.argv = sys.argv[:1]
    server = kserve.ModelServer(http_port=int(port), workers=1, enable_grpc=False, enable_latency_logging=False)
    server.start([Forest(model)])
