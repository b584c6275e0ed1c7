"""Triton's own client against a worker with `echo`. It brings messages of its own, hence its own process."""

import sys

import numpy as np
import tritonclient.grpc as triton

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

print("all held")
