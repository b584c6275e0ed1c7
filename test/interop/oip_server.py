"""A server of the Open Inference Protocol that answers raw, as Triton does, and echoes its inputs."""

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


class Echo(service.GRPCInferenceServiceServicer):
    def ModelMetadata(self, request, context):
        metadata = pb.ModelMetadataResponse(name=request.name, platform="python")
        for name, datatype in [("d", "FP64"), ("u", "UINT8"), ("n", "INT64")]:
            metadata.inputs.add(name=name, datatype=datatype, shape=[-1])
        return metadata

    def ModelInfer(self, request, context):
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
