"""BentoML around ONNX Runtime: `serve.py MODEL PORT`.

One worker, an asynchronous function, no access log.
"""

import os
import sys
from pathlib import Path

import bentoml
import numpy
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, monitoring={"enabled": False})
class Forest:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)

    @bentoml.api
    async def predict(self, inputs: list[list[float]]) -> list[list[float]]:
        return self.session.run(["probabilities"], {"X": numpy.array(inputs, numpy.float32)})[0].tolist()


if __name__ == "__main__":
    model, port = sys.argv[1:]
    os.environ.update(MODEL=model, BENTOML_DO_NOT_TRACK="true")
    here = Path(__file__).parent
    program = str(Path(sys.executable).with_name("bentoml"))
    command = [program, "serve", "serve:Forest", "--working-dir", str(here), "--host", "127.0.0.1", "--port", port]
    os.execv(program, command)
