"""Calls a model of a fleet with tritonclient. No package of AnyServe is needed: GET /route finds a replica.

Run it with: python examples/python/infer.py type=echo "Hello, world" http://localhost:8080
"""

import json
import sys
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy
from tritonclient.grpc import InferenceServerClient, InferenceServerException, InferInput

capability = sys.argv[1] if len(sys.argv) > 1 else "type=echo"
prompt = sys.argv[2] if len(sys.argv) > 2 else "Hello, world"
server = sys.argv[3] if len(sys.argv) > 3 else "http://localhost:8080"
key, model = capability.split("=", 1)

# A call has at most this many attempts, each at another replica.
MAX_ATTEMPTS = 3


def find_replica(excluded):
    """Returns the id and the endpoint of a replica with the capability that is not excluded."""
    query = urlencode({key: model})
    headers = {"X-Anyserve-Protocol": "grpc", "X-Anyserve-Exclude": ",".join(excluded)}
    try:
        with urlopen(Request(f"{server}/route?{query}", headers=headers), timeout=5) as response:
            route = json.load(response)
    except HTTPError as error:
        if error.code == 404:
            sys.exit(f"no replica offers {capability}")
        raise
    return route["replica_id"], route["endpoint"]


def infer(endpoint):
    """Returns the model's outputs for the prompt, as a dictionary."""
    texts = InferInput("prompt", [1], "BYTES")
    texts.set_data_from_numpy(numpy.array([prompt.encode()], dtype=object))
    with InferenceServerClient(endpoint) as client:
        result = client.infer(model, [texts], client_timeout=60)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


failed = []
for attempt in range(MAX_ATTEMPTS):
    replica_id, endpoint = find_replica(failed)
    try:
        for name, values in infer(endpoint).items():
            for value in values.flatten():
                print(f"{name}: {value.decode() if isinstance(value, bytes) else value}")
        break
    except InferenceServerException as error:
        # The replica has died, or is too busy. Another one can take the call.
        if "UNAVAILABLE" not in str(error.status()) or attempt == MAX_ATTEMPTS - 1:
            sys.exit(f"{replica_id}: {error.message()}")
        print(f"{replica_id} failed, trying another replica", file=sys.stderr)
        failed.append(replica_id)
