"""FastAPI around ONNX Runtime: `serve.py MODEL PORT`.

One asynchronous function, uvloop and httptools (`uvicorn[standard]`), no access log.
"""

import sys

import numpy
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

model, port = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options)
app = FastAPI()


class Rows(BaseModel):
    inputs: list[list[float]]


class Answer(BaseModel):
    probabilities: list[list[float]]


@app.get("/ready")
async def ready() -> None:
    pass


@app.post("/predict")
async def predict(rows: Rows) -> Answer:
    [probabilities] = session.run(["probabilities"], {"X": numpy.array(rows.inputs, numpy.float32)})
    return Answer(probabilities=probabilities.tolist())


uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")
