"""An API server with only the interface of the Python server."""

import asyncio
import json
import random
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()
replicas: dict[str, "Registration"] = {}


class Registration(BaseModel):
    replica_id: str
    endpoint: str
    capabilities: list[dict[str, Any]]


@app.post("/register")
async def register(registration: Registration):
    replicas[registration.replica_id] = registration

    async def events():
        try:
            yield f"data: {json.dumps({'status': 'registered', 'replica_id': registration.replica_id})}\n\n"
            while True:
                yield f"data: {json.dumps({'status': 'alive'})}\n\n"
                await asyncio.sleep(5)
        finally:
            replicas.pop(registration.replica_id, None)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


@app.get("/route")
async def route(request: Request):
    wanted = dict(request.query_params).items()
    matching = [r for r in replicas.values() if any(wanted <= c.items() for c in r.capabilities)]
    if not matching:
        raise HTTPException(status_code=404, detail="no matching replica")
    found = random.choice(matching)
    return {"endpoint": found.endpoint, "replica_id": found.replica_id}


@app.get("/registry")
async def registry():
    return {"replicas": [r.model_dump() for r in replicas.values()]}


@app.get("/health")
async def health():
    return {"status": "healthy"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
