"""llama.cpp's own HTTP server on a free port. Arguments: a model file, and whether it is for embeddings."""

import sys
import time

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"tiny"}
if "embeddings" in sys.argv[2:]:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx = 2048
params.n_parallel = 4
params.cpuparams.n_threads = 1
params.api_keys = ["the-key"]
params.endpoint_metrics = True

server = xllamacpp.Server(params)
print(f"listening on {server.listening_address}", flush=True)
time.sleep(3600)
