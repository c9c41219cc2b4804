"""Ways to a host: its addresses one after the other, and one of them connected.

A large store answers from many addresses, so that connections are spread over them; one that does not answer stands
back for the others (RFC 8305 has the reasons; uvloop has no happy eyeballs).
"""

import asyncio
import socket
from datetime import timedelta
from itertools import count

from uploader.lanes.head import Origin

ADDRESSES_ARE_GOOD_FOR = timedelta(seconds=30)  # ours: longer than a burst of connections, shorter than a failover
ONE_OF_SEVERAL = timedelta(
    seconds=2
)  # ours: for an address while others are left; first packets are repeated after 1 s

Target = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
Address = tuple[socket.AddressFamily, int, Target]


class Addresses:
    """Of one host. Asked for when needed, then kept for a while."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._known: list[Address] = []
        self._silent: set[Address] = set()
        self._known_until = 0.0
        self._turns = count()
        self._asking = asyncio.Lock()

    async def connect(self, stall: timedelta) -> socket.socket:
        """A connected socket.

        :raises OSError: no address answers, or the host is unknown.
        """
        addresses = await self._in_turn()
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(ONE_OF_SEVERAL.total_seconds()):
                    return await self._connect(address, stall)
            except OSError:
                self._silent.add(address)
        return await self._connect(addresses[-1], stall)

    async def _connect(self, address: Address, stall: timedelta) -> socket.socket:
        family, protocol, target = address
        made = socket.socket(family, socket.SOCK_STREAM, protocol)
        try:
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux, tcp(7): for what is in the kernel's buffer already
                made.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(stall / timedelta(milliseconds=1)))
                )
            await asyncio.get_running_loop().sock_connect(made, target)
        except BaseException:
            made.close()
            raise
        self._silent.discard(address)
        return made

    async def _in_turn(self) -> list[Address]:
        """All of them: those of the preferred family first, each call from another one on, and the silent ones last."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() >= self._known_until:
                await self._ask(loop)
        turn = next(self._turns) % len(self._known)
        preferred = self._known[0][0]
        turned = self._known[turn:] + self._known[:turn]
        return sorted(turned, key=lambda each: (each in self._silent, each[0] != preferred))

    async def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        self._known = await _resolved(self._origin.host, self._origin.port)
        self._silent.clear()
        self._known_until = loop.time() + ADDRESSES_ARE_GOOD_FOR.total_seconds()


async def _resolved(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:  # a label of more than 63 characters
        raise socket.gaierror(socket.EAI_NONAME, "no host name") from exc
    return [(family, protocol, target) for family, _, protocol, _, target in found]
