"""Serves GET /route with FastAPI and a linear scan of a list. Prints its port. Usage: route_fastapi.py REPLICAS"""
import random
import socket
import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

replicas = [
    {
        "replica_id": f"replica-{n}",
        "endpoint": f"replica-{n}.test:50051",
        "capabilities": [
            {"model": f"model-{n % 200}", "type": f"type-{n % 5}", "gpu": f"gpu-{n % 4}", "region": f"region-{n % 8}"}
        ],
    }
    for n in range(int(sys.argv[1]))
]
app = FastAPI()


@app.get("/route")
async def route(request: Request):
    pairs = dict(request.query_params).items()
    matches = [replica for replica in replicas if any(pairs <= one.items() for one in replica["capabilities"])]
    if not matches:
        return JSONResponse({"detail": "no matching replica"}, status_code=404)
    found = random.choice(matches)
    return {"endpoint": found["endpoint"], "replica_id": found["replica_id"]}


# asyncio sets TCP_NODELAY only on sockets whose protocol is named explicitly.
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen(128)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
