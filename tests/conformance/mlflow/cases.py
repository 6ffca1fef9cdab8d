"""What many cases need: names of their own, and the error they expect."""

import contextlib
import itertools
import os
import time

import pytest
from mlflow.exceptions import MlflowException

_numbers = itertools.count(1)


def unique(name: str) -> str:
    """A name that no other case uses, for a server that outlives the case."""
    return f"{name} {os.getpid()}-{time.time_ns() // 1_000_000}-{next(_numbers)}"


@contextlib.contextmanager
def fails(code: str | None, part: str):
    """The block must end with MLflow's error of that code, whose message holds the part."""
    with pytest.raises(MlflowException) as caught:
        yield caught
    assert part in caught.value.message, caught.value.message
    assert code is None or caught.value.error_code == code, caught.value.error_code
