"""KServe's server with a model that doubles `x` and fails on negative numbers."""

import sys

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput


class Doubler(Model):
    def __init__(self):
        super().__init__("doubler")
        self.ready = True

    def predict(self, payload: InferRequest, headers=None) -> InferResponse:
        x = payload.inputs[0].as_numpy()
        if (x < 0).any():
            raise InvalidInput("x must not be negative")
        # A raw request, whose inputs have empty `data`, gets a raw response.
        output = InferOutput("doubled", list(x.shape), "FP32")
        output.set_data_from_numpy(x * 2, binary_data=not payload.inputs[0].data)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1).start([Doubler()])
