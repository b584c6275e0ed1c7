"""Models for MLServer: one that doubles, fails on request and shows its parameters, and one that streams."""

from typing import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Doubler(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensors = {tensor.name: tensor for tensor in payload.inputs}
        x = NumpyCodec.decode_input(tensors["x"])
        if (x < 0).any():
            raise InferenceError("x must not be negative")
        outputs = [NumpyCodec.encode_output("doubled", x * 2)]
        if "prompt" in tensors:
            outputs.append(StringCodec.encode_output("prompt", StringCodec.decode_input(tensors["prompt"])))
        parameters = tensors["x"].parameters
        outputs.append(StringCodec.encode_output("content_type", [str(getattr(parameters, "content_type", None))]))
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Words(MLModel):
    async def predict_stream(self, payloads: AsyncIterator[InferenceRequest]) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            for word in StringCodec.decode_input(payload.inputs[0])[0].split(" "):
                if word == "fail":
                    raise InferenceError("the word is fail")
                yield InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("text", [word + " "])])
