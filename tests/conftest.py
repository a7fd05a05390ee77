"""Fixtures that all tests share."""

import socket
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision wherever a test names none, so that what it expects holds on every processor."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


NEAR = ("localhost", "127.0.0.1", "::1", socket.gethostname(), "", None)


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """No test, and nothing that it calls in this process, asks another machine."""

    def refuse(place: object) -> None:
        raise AssertionError(f"a connection to {place}: everything must run without a network")

    def connect(self: socket.socket, address: object, *, name: str = "connect") -> object:
        if self.family != socket.AF_UNIX and address[0] not in NEAR:
            refuse(address)
        return plain[name](self, address)

    def getaddrinfo(host: object, *arguments: object, **options: object) -> object:
        return plain["getaddrinfo"](host, *arguments, **options) if host in NEAR else refuse(host)

    plain = {"connect": socket.socket.connect, "connect_ex": socket.socket.connect_ex}
    plain["getaddrinfo"] = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", lambda self, a: connect(self, a, name="connect_ex"))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
