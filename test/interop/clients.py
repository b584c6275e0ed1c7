"""A client like that of the Python server, and gRPC's own health and reflection clients, against an API server and a worker with `echo` (capability type=echo)."""

import sys

import grpc
import open_inference_pb2 as pb
import open_inference_pb2_grpc as service
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

server = sys.argv[1]

# Discovery over HTTP, as the original's client does it.
route = requests.get(f"{server}/route", params={"type": "echo"}, timeout=5.0)
assert route.status_code == 200, route.text
endpoint = route.json()["endpoint"]
missing = requests.get(f"{server}/route", params={"type": "nope"}, timeout=5.0)
assert (missing.status_code, missing.json()) == (404, {"detail": "no matching replica"})

# Typed contents in, typed contents out, as the original's client reads them.
channel = grpc.insecure_channel(endpoint)
stub = service.GRPCInferenceServiceStub(channel)
request = pb.ModelInferRequest(model_name="echo")
floats = request.inputs.add(name="f", datatype="FP32", shape=[2])
floats.contents.fp32_contents.extend([1.5, -0.0])
integers = request.inputs.add(name="i", datatype="INT32", shape=[2])
integers.contents.int_contents.extend([-(2**31), 2**31 - 1])
texts = request.inputs.add(name="t", datatype="BYTES", shape=[1])
texts.contents.bytes_contents.append("Grüße".encode())
outputs = {output.name: output for output in stub.ModelInfer(request).outputs}
assert list(outputs["f"].contents.fp32_contents) == [1.5, -0.0]
assert list(outputs["i"].contents.int_contents) == [-(2**31), 2**31 - 1]
assert list(outputs["t"].contents.bytes_contents) == ["Grüße".encode()]
assert stub.ServerLive(pb.ServerLiveRequest()).live
assert stub.ModelReady(pb.ModelReadyRequest(name="echo")).ready
try:
    floats.shape[0] = 3
    stub.ModelInfer(request)
    raise AssertionError("a shape that does not hold was taken")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and '"f"' in error.details(), error

# Health and reflection, as gRPC's tools ask.
health = health_pb2_grpc.HealthStub(channel)
for name in ["", "inference.GRPCInferenceService"]:
    assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
services = ProtoReflectionDescriptorDatabase(channel).get_services()
assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(services), services

print("all held")
