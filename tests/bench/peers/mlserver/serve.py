"""MLServer around ONNX Runtime: `serve.py MODEL PORT`.

A runtime of one's own, in the server's process (`parallel_workers` 0: with a worker process each request takes two
more hops), without debug lines and without packing answers.
"""

import asyncio
import os
import socket
import sys

import mlserver
import onnxruntime
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Forest(mlserver.MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        [probabilities] = self.session.run(["probabilities"], {"X": rows})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", probabilities)]
        )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def main(model: str, port: str) -> None:
    os.environ["MODEL"] = model
    settings = mlserver.Settings(
        host="127.0.0.1",
        http_port=int(port),
        grpc_port=free_port(),
        metrics_port=free_port(),
        parallel_workers=0,
        debug=False,
        gzip_enabled=False,
        load_models_at_startup=False,
    )
    server = mlserver.MLServer(settings)
    await server.start([mlserver.ModelSettings(name="forest", implementation=Forest)])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
