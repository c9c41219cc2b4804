"""A worker that settles uploads as it is usually written: 16 threads, boto3, redis-py. The peer of `bench/events.py`.

It is meant to be fast: clients are made once, hiredis parses, hints are taken ten at a time from a list – no door, no
authentication –, a session is settled by one Lua script. It does less than the broker does: no capsule to open, no
claim that another process could take over, no metrics, nobody who waits for the job.

    python -m bench.peers.boto3_events
"""

import json
import os
import threading
import time
from urllib.parse import unquote_plus

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

THREADS = 16
AT_ONCE = 10
IDLE_SECONDS = 1

SETTLE = """
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then
  return 0
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'etag', ARGV[3], 'at', ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[1])
if ARGV[2] == 'verified' then
  redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1])
end
redis.call('XADD', KEYS[4], '*', 'id', ARGV[1], 'state', ARGV[2], 'at', ARGV[4])
return 1
"""


class Worker:
    def __init__(self) -> None:
        self.s3 = boto3.client(
            "s3",
            region_name=os.environ["PEER_REGION"],
            endpoint_url=os.environ["PEER_ENDPOINT"],
            aws_access_key_id=os.environ["PEER_ACCESS_KEY"],
            aws_secret_access_key=os.environ["PEER_SECRET_KEY"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=THREADS),
        )
        self.redis = redis.Redis.from_url(os.environ["PEER_REDIS_URL"])
        self.settle = self.redis.register_script(SETTLE)

    def run(self) -> None:
        while True:
            hints = self.redis.lpop("hints", AT_ONCE)
            if hints is None:
                first = self.redis.blpop("hints", timeout=IDLE_SECONDS)
                hints = [] if first is None else [first[1]]
            for hint in hints:
                self.handle(hint)

    def handle(self, body: bytes) -> None:
        for record in json.loads(body)["Records"]:
            bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
            self.look(bucket, key)

    def look(self, bucket: str, key: str) -> None:
        session_id = key.split("/")[1]
        name = f"session:{session_id}"
        state, size, content_type, capsule = self.redis.hmget(name, "state", "size", "type", "capsule")
        if state != b"pending":
            return
        try:
            found = self.s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError:
            return
        is_right = (
            found["ContentLength"] == int(size)
            and found["ContentType"] == content_type.decode()
            and found["Metadata"].get("upload-session") == capsule.decode()
        )
        verdict = "verified" if is_right else "rejected"
        words = (session_id, verdict, found["ETag"].strip('"'), int(time.time() * 1000))
        self.settle(keys=(name, "due", "jobs", "events"), args=words)


def main() -> None:
    worker = Worker()
    for _ in range(THREADS):
        threading.Thread(target=worker.run, daemon=True).start()
    print(json.dumps({"threads": THREADS}), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
