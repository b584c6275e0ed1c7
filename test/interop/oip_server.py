"""
A server of the Open Inference Protocol that answers raw, as Triton does, and echoes its inputs. What a model declares it
takes exactly, the batch dimension included, and nothing else, as Triton does.
"""

import sys
from concurrent import futures

import grpc
import open_inference_pb2 as pb
import open_inference_pb2_grpc as service

FIELDS = {
    "BOOL": ("bool_contents", "?"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
}


def raw_contents(tensor):
    """The raw form of a tensor's typed contents."""
    import struct

    if tensor.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(e)) + e for e in tensor.contents.bytes_contents)
    field, code = FIELDS[tensor.datatype]
    return b"".join(struct.pack("<" + code, e) for e in getattr(tensor.contents, field))


def answer(request):
    raws = list(request.raw_input_contents) or [raw_contents(tensor) for tensor in request.inputs]
    response = pb.ModelInferResponse(model_name=request.model_name, id=request.id, raw_output_contents=raws)
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return response


DECLARED = {
    "numbers": {"d": ("FP64", [-1]), "u": ("UINT8", [-1]), "n": ("INT64", [-1])},
    "batched": {"x": ("FP32", [-1, 3]), "prompt": ("BYTES", [-1, 1]), "scale": ("FP64", [1, 1])},
}


def check(request, context):
    """Refuses what is not declared, and what is declared and not there."""
    declared = DECLARED.get(request.model_name)
    if declared is None:
        return
    given = {tensor.name: tensor for tensor in request.inputs}
    if set(given) != set(declared):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"expected inputs {sorted(declared)}, got {sorted(given)}")
    for name, (datatype, shape) in declared.items():
        tensor = given[name]
        fits = len(tensor.shape) == len(shape) and all(w in (-1, g) for w, g in zip(shape, tensor.shape))
        if tensor.datatype != datatype or not fits:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"unexpected input '{name}': expected {datatype}{shape}, got {tensor.datatype}{list(tensor.shape)}",
            )


class Echo(service.GRPCInferenceServiceServicer):
    def ModelMetadata(self, request, context):
        metadata = pb.ModelMetadataResponse(name=request.name, platform="python")
        for name, (datatype, shape) in DECLARED.get(request.name, {}).items():
            metadata.inputs.add(name=name, datatype=datatype, shape=shape)
        return metadata

    def ModelInfer(self, request, context):
        check(request, context)
        return answer(request)

    def ModelStreamInfer(self, requests, context):
        for request in requests:
            for _ in range(3):
                yield pb.ModelStreamInferResponse(infer_response=answer(request))


server = grpc.server(futures.ThreadPoolExecutor())
service.add_GRPCInferenceServiceServicer_to_server(Echo(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening on 127.0.0.1:{port}", flush=True)
sys.stdin.read()
server.stop(0)
