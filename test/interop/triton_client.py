"""Triton's own client against a worker with `echo`. It runs in a separate process because it registers the same protobuf messages."""

import asyncio
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

endpoint = sys.argv[1]

with triton.InferenceServerClient(endpoint) as client:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("echo")
    arrays = {
        "BOOL": np.array([[True, False]]),
        "FP16": np.frombuffer(np.arange(65536, dtype=np.uint16).tobytes(), np.float16),
        "FP32": np.array([np.finfo(np.float32).max, np.nan, np.inf], np.float32),
        "FP64": np.array([np.finfo(np.float64).tiny, -0.0], np.float64),
        "BYTES": np.array([b"", b"\x00\xff", "Grüße".encode()], np.object_),
    }
    for name in ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"]:
        kind = np.dtype(name.lower())
        arrays[name] = np.array([np.iinfo(kind).min, np.iinfo(kind).max], kind)
    for name, array in arrays.items():
        tensor = triton.InferInput("x", list(array.shape), name)
        tensor.set_data_from_numpy(array)
        back = client.infer("echo", [tensor]).as_numpy("x")
        assert back.dtype == array.dtype and back.tobytes() == array.tobytes() or list(back) == list(array), name


def text_input(text, name="x"):
    tensor = triton.InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode()], np.object_))
    return tensor


def text_of(result):
    return result.as_numpy("x")[0].decode()


# Streams, one request after the other on one of them; each answer carries the id of its request.
with triton.InferenceServerClient(endpoint) as client:
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for n in range(3):
        client.async_stream_infer("echo", [text_input(f"text {n}")], request_id=str(n))
    for n in range(3):
        result, error = answers.get(timeout=10)
        assert error is None, error
        assert (text_of(result), result.get_response().id) == (f"text {n}", str(n))
    client.async_stream_infer("nobody", [text_input("x")])
    result, error = answers.get(timeout=10)
    assert result is None and "nobody" in error.message(), (result, error)
    client.stop_stream()

    # Callbacks, and what is said of models and failures.
    client.async_infer("echo", [text_input("later")], lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=10)
    assert error is None and text_of(result) == "later"
    metadata = client.get_model_metadata("echo", as_json=True)
    assert metadata["name"] == "echo", metadata
    try:
        client.infer("nobody", [text_input("x")])
        raise AssertionError("a model that nobody has was called")
    except InferenceServerException as failure:
        assert failure.status() == "StatusCode.NOT_FOUND" and "nobody" in failure.message(), failure


async def asynchronously():
    async with triton_aio.InferenceServerClient(endpoint) as client:
        assert await client.is_server_live() and await client.is_model_ready("echo")
        results = await asyncio.gather(*(client.infer("echo", [text_input(f"text {n}")]) for n in range(20)))
        assert [text_of(result) for result in results] == [f"text {n}" for n in range(20)]

        async def requests():
            for n in range(3):
                yield {"model_name": "echo", "inputs": [text_input(f"text {n}")], "request_id": str(n)}

        got = []
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            got.append((text_of(result), result.get_response().id))
        assert got == [(f"text {n}", str(n)) for n in range(3)], got


asyncio.run(asynchronously())

print("all held")
