"""`python -m tests.peers.ceph`: a Ceph to try things on, until Ctrl-C."""

import contextlib
import signal

from tests.peers.ceph.cluster import running_ceph

if __name__ == "__main__":
    with running_ceph() as ceph, contextlib.suppress(KeyboardInterrupt):
        print(f"export AWS_ENDPOINT_URL={ceph.url} AWS_REGION={ceph.region}  # with STS and IAM: {ceph.sts_url}")
        for account in (ceph.owner, ceph.writer):
            keys = account.credential
            print(f"# {account.name}: AWS_ACCESS_KEY_ID={keys.access_key} AWS_SECRET_ACCESS_KEY={keys.secret_key}")
        print("# stop it with Ctrl-C", flush=True)
        signal.pause()
