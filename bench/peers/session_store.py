"""A store that opens resumable uploads and does nothing else, as fast as Python can: what calls it is measured."""

import asyncio
import json
import sys

from aiohttp import web


async def serve() -> None:
    server = web.Server(_answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"store": f"http://127.0.0.1:{port}"}), flush=True)
    await asyncio.Event().wait()


async def _answer(request: web.BaseRequest) -> web.Response:
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        return web.Response(status=401)
    await request.read()
    return web.Response(headers={"Location": f"{request.url.origin()}{request.path_qs}&upload_id=ABg5-UxYz"})


if __name__ == "__main__":
    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        sys.exit()
