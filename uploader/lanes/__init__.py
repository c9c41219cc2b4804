"""A lean HTTP/1.1 client for signed requests whose body is in memory (RFC 9112).

    async with Lanes() as lanes:
        answer = await lanes.send(request, body)

It does what `uploader.sender` does for files, at a third of the cost: small files are where a client's own time counts.
"""

from uploader.lanes.lanes import Lanes

__all__ = ["Lanes"]
