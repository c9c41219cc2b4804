"""An nginx that takes whatever is PUT, by WebDAV, and asks for no signature: what a client costs shows there.

What S3 says of uploads in parts it says in fixed words. Its log names every object and part, with the moment when it
was taken.
"""

import shutil
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

from bench._broker import environment
from bench._store_log import NGINX_FORMAT
from broker.dev.children import Child, free_port

READY_SECONDS = 10.0


def start_nginx(stack: ExitStack, directory: Path, *, bucket: str, large_bytes: int, part_bytes: int) -> str:
    """Its URL. Objects come below `directory`/objects, its log is `directory`/access.log.

    :param large_bytes: what it says to have of every upload in parts, in parts of `part_bytes`.
    """
    port, nginx = free_port(), shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        sys.exit("bench/upload.py needs nginx: install the Debian package nginx-light")
    for name in ("objects", "parts", "words", "body"):
        (directory / name).mkdir()
    (directory / "words" / "parts.xml").write_text(_all_parts(large_bytes, part_bytes))
    (directory / "nginx.conf").write_text(_nginx_conf(directory, port, bucket))
    argv = [nginx, "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    server = Child(name="nginx", argv=argv, env=environment(), directory=directory, is_announced=False)
    stack.callback(server.stop)
    server.start()
    url, end = f"http://127.0.0.1:{port}", monotonic() + READY_SECONDS
    while not _answers(url):
        if not server.is_alive or monotonic() > end:
            sys.exit(f"nginx did not start:\n{server.last_words()}")
        sleep(0.01)  # nothing tells us when it listens
    return url


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - our own
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _nginx_conf(directory: Path, port: int, bucket: str) -> str:
    """Parts have a place of their own: until they are completed there is no object to be found."""
    names = f"<Bucket>{bucket}</Bucket><Key>k</Key>"
    opened = f"<InitiateMultipartUploadResult>{names}<UploadId>1</UploadId></InitiateMultipartUploadResult>"
    completed = f'<CompleteMultipartUploadResult>{names}<ETag>"sink-1"</ETag></CompleteMultipartUploadResult>'
    none_open = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
    return f"""\
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 2048; }}
http {{
  log_format bench {NGINX_FORMAT};
  access_log {directory}/access.log bench;
  client_body_temp_path {directory}/body;
  client_max_body_size 0;
  keepalive_requests 1000000;
  map "$request_method $args" $words {{
    default "";
    "~^POST .*uploadId=" '{completed}';
    "~^POST .*uploads" '{opened}';
    "~^GET .*uploads=" '{none_open}';
  }}
  map "$request_method $args" $is_asked_for_parts {{ default ""; "~^GET .*uploadId=" 1; }}
  map $args $place {{ default objects; "~partNumber=" parts; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    default_type application/xml;
    location / {{
      if ($words) {{ return 200 $words; }}
      if ($is_asked_for_parts) {{ rewrite ^ /parts.xml last; }}
      root {directory}/$place;
      dav_methods PUT DELETE;
      create_full_put_path on;
      add_header ETag '"sink-1"' always;
    }}
    location = /parts.xml {{ internal; root {directory}/words; }}
  }}
}}
"""


def _all_parts(size_bytes: int, part_bytes: int) -> str:
    """What ListParts says once all are there."""
    begins = range(0, size_bytes, part_bytes)
    parts = [
        f"<Part><PartNumber>{number}</PartNumber><Size>{min(part_bytes, size_bytes - begin)}</Size>"
        '<ETag>"sink-1"</ETag></Part>'
        for number, begin in enumerate(begins, 1)
    ]
    return f"<ListPartsResult><IsTruncated>false</IsTruncated>{''.join(parts)}</ListPartsResult>"
