import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Streams the words of `prompt`, one response each. Fails at the word "fail"."""

    def execute(self, requests):
        for request in requests:
            self.answer(request)

    def answer(self, request):
        sender = request.get_response_sender()
        prompt = pb_utils.get_input_tensor_by_name(request, "prompt").as_numpy()[0].decode()
        for word in prompt.split(" "):
            if word == "fail":
                error = pb_utils.TritonError("the word is fail")
                sender.send(pb_utils.InferenceResponse(error=error), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                return
            text = pb_utils.Tensor("text", np.array([(word + " ").encode()], dtype=np.object_))
            sender.send(pb_utils.InferenceResponse([text]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
