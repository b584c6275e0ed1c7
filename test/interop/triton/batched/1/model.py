import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Doubles `x` and returns `prompt`. Fails when `x` contains a negative number, or one over 1,000."""

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        if (x < 0).any():
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("x must not be negative"))
        if (x > 1000).any():
            # With a space at its end, as several of Triton's own texts have.
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("x is too large "))
        outputs = [pb_utils.Tensor("doubled", x * 2)]
        prompt = pb_utils.get_input_tensor_by_name(request, "prompt")
        if prompt is not None:
            outputs.append(pb_utils.Tensor("prompt", prompt.as_numpy().astype(np.object_)))
        return pb_utils.InferenceResponse(outputs)
