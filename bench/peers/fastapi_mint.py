"""`POST /upload-sessions` as it is usually written: FastAPI, pydantic, boto3, redis-py. The peer of `bench/mint.py`.

It is meant to be fast: clients are made once, nothing waits in a thread, dependencies are coroutines, hiredis parses,
there is no access log, and what Redis is told leaves in one pipeline. It does less than the broker does: no limits a
key, no capsule, no session token, no idempotency, no event stream.

    uvicorn bench.peers.fastapi_mint:app --loop uvloop --http httptools --no-access-log
"""

import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import boto3
from botocore.config import Config
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis

BUCKET = os.environ["PEER_BUCKET"]
KEY_SHA256 = os.environ["PEER_KEY_SHA256"]
URL_SECONDS = 900
DEADLINE = timedelta(hours=24)
CHECK_AFTER_SECONDS = 5

s3 = boto3.client(
    "s3",
    region_name=os.environ["PEER_REGION"],
    endpoint_url=os.environ["PEER_ENDPOINT"],
    aws_access_key_id=os.environ["PEER_ACCESS_KEY"],
    aws_secret_access_key=os.environ["PEER_SECRET_KEY"],
    config=Config(
        signature_version="s3v4", s3={"addressing_style": "path"}, request_checksum_calculation="when_required"
    ),
)
redis = Redis.from_url(os.environ["PEER_REDIS_URL"])


class CreateUploadSession(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    size_bytes: Annotated[int, Field(ge=0, le=5_000_000_000_000)]
    content_type: Annotated[str, Field(max_length=255)] = "application/octet-stream"
    metadata: dict[str, str] = {}
    owner: str | None = None
    batch: str | None = None


class SignedRequest(BaseModel):
    method: str
    url: str
    headers: dict[str, str]
    expires_at: datetime


class Upload(BaseModel):
    strategy: str
    request: SignedRequest


class ObjectRef(BaseModel):
    bucket: str
    key: str


class UploadSession(BaseModel):
    id: str
    state: str
    created_at: datetime
    expires_at: datetime
    object: ObjectRef
    upload: Upload


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)
bearer = HTTPBearer()


async def authenticate(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    digest = hashlib.sha256(credentials.credentials.encode()).hexdigest()
    if not hmac.compare_digest(digest, KEY_SHA256):
        raise HTTPException(status_code=401)
    return "app"


@app.post("/upload-sessions", status_code=201)
async def create(wish: CreateUploadSession, principal: Annotated[str, Depends(authenticate)]) -> UploadSession:
    now = datetime.now(UTC)
    session_id = uuid4().hex
    key = f"uploads/{session_id}/{wish.filename.replace('/', '_')}"
    url = s3.generate_presigned_url(
        "put_object",
        Params={
            "Bucket": BUCKET,
            "Key": key,
            "ContentLength": wish.size_bytes,
            "ContentType": wish.content_type,
            "IfNoneMatch": "*",
            "Metadata": {"upload-session": session_id},
        },
        ExpiresIn=URL_SECONDS,
    )
    await record(session_id, key, wish, principal, now)
    headers = {"content-type": wish.content_type, "if-none-match": "*", "x-amz-meta-upload-session": session_id}
    return UploadSession(
        id=session_id,
        state="pending",
        created_at=now,
        expires_at=now + DEADLINE,
        object=ObjectRef(bucket=BUCKET, key=key),
        upload=Upload(
            strategy="put",
            request=SignedRequest(
                method="PUT", url=url, headers=headers, expires_at=now + timedelta(seconds=URL_SECONDS)
            ),
        ),
    )


async def record(session_id: str, key: str, wish: CreateUploadSession, principal: str, now: datetime) -> None:
    """The session, when to look at it, and when to forget it: one transaction, one round trip."""
    name = f"session:{session_id}"
    fields = {"state": "pending", "principal": principal, "key": key, "created_at": now.isoformat()}
    async with redis.pipeline() as pipeline:
        pipeline.hset(name, mapping=fields | {"spec": wish.model_dump_json()})
        pipeline.zadd("due", {session_id: now.timestamp() + CHECK_AFTER_SECONDS})
        pipeline.expire(name, DEADLINE)
        await pipeline.execute()
