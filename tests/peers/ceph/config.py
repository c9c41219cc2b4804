"""What the daemons of a one-machine Ceph read: configuration and keys.

Sources: docs.ceph.com, "Manual Deployment", "Configuration Reference"; for the keys `CryptoKey::encode` in
src/auth/Crypto.cc. cephx stays on: radosgw 16.2 does not come up without.
"""

import base64
import secrets
import struct
import time
from pathlib import Path

OSD_BYTES = 4 << 30
_STS_KEY = "sixteen-letters!"  # AES-128: rgw_sts_key has exactly 16 characters
KMS_KEY_ID = "uploads-key"  # of 256 bits, in the configuration: the backend "testing" of rgw_crypt_s3_kms
_CAPS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rwx", "osd": "allow rwx"},
    "client.sts": {"mon": "allow rwx", "osd": "allow rwx"},
}


def ceph_conf(
    home: Path,
    *,
    fsid: str,
    monitor_port: int,
    port: int,
    sts_port: int,
    osd_bytes: int,
    access_log: Path | None,
) -> str:
    """One copy of everything, in memory, and no waiting for others who might want to vote.

    :param access_log: what the first gateway says of its requests, as much of it as a Ceph says by default.
    """
    return f"""\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{monitor_port}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_allow_insecure_global_id_reclaim = false
keyring = {home}/keyring
run_dir = {home}/run
admin_socket = {home}/run/$name.$pid.asok
crash_dir = {home}/run
log_file =
log_to_syslog = false
err_to_syslog = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000

[mon]
mon_data = {home}/mon
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_cluster_log_file =
paxos_propose_interval = 0.05
paxos_min_wait = 0.01

[osd]
osd_data = {home}/osd
osd_objectstore = memstore
memstore_device_bytes = {osd_bytes}
osd_op_num_shards = 2

[client]
rgw_thread_pool_size = 64
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
rgw_enable_lc_threads = false
rgw_enable_gc_threads = false
rgw_sts_key = {_STS_KEY}
rgw_crypt_require_ssl = false
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = {KMS_KEY_ID}={base64.b64encode(secrets.token_bytes(32)).decode()}

[client.rgw]
log_file = {access_log or ""}
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1

[client.sts]
rgw_frontends = beast endpoint=127.0.0.1:{sts_port} tcp_nodelay=1
rgw_s3_auth_use_sts = true
"""


def keyring() -> str:
    """Return a keyring with a fresh key for everybody who may speak."""
    return "\n".join(
        f"[{name}]\n\tkey = {_new_key()}\n" + "".join(f'\tcaps {who} = "{cap}"\n' for who, cap in caps.items())
        for name, caps in _CAPS.items()
    )


def _new_key() -> str:
    """Type AES (1), moment (seconds, nanoseconds), length, bytes."""
    raw = secrets.token_bytes(16)
    return base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, len(raw)) + raw).decode()
