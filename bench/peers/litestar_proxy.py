"""An upload API that streams what it gets into the bucket, as it is usually written, and written well.

The peer of `bench/reach.py`. It holds one chunk at a time and waits for the store, so that memory stays constant; it
signs its own PUT, so that no SDK's thread or hash is in the way; uvicorn runs it on uvloop and httptools without an
access log. It keeps no record and judges nothing.

    uvicorn bench.peers.litestar_proxy:app --loop uvloop --http httptools --no-access-log
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import boto3
from botocore.config import Config
from litestar import Litestar, Request, put
from litestar.exceptions import HTTPException, NotAuthorizedException
from yarl import URL

BUCKET = os.environ["PEER_BUCKET"]
KEY = os.environ["PEER_KEY"]

s3 = boto3.client(
    "s3",
    region_name=os.environ["PEER_REGION"],
    endpoint_url=os.environ["PEER_ENDPOINT"],
    aws_access_key_id=os.environ["PEER_ACCESS_KEY"],
    aws_secret_access_key=os.environ["PEER_SECRET_KEY"],
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as app.state.store:
        yield


@put("/uploads/{name:str}", request_max_body_size=None, status_code=201)
async def upload(request: Request[Any, Any, Any], name: str) -> dict[str, str]:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        raise NotAuthorizedException
    key = f"uploads/{uuid4().hex}/{name}"
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key})
    length = {"Content-Length": request.headers["content-length"]}
    async with request.app.state.store.put(URL(url, encoded=True), data=request.stream(), headers=length) as answer:
        if answer.status != 200:
            raise HTTPException(status_code=502)
    return {"key": key}


app = Litestar([upload], lifespan=[lifespan], openapi_config=None, logging_config=None)
