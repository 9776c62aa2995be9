"""Machines of a network as namespaces of this one, each with an address of its own, on a bridge."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

HOST = "10.214.77.1"
"""Address of this machine on the bridge."""
_BRIDGE = "dsanet-test"
_LINK = "dsanet-veth"


@contextmanager
def namespaces(count: int) -> Iterator[dict[str, tuple[str, ...]]]:
    """By address, the words that run a command in that namespace; skips the test where there can be none."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"{_BRIDGE}-{number}" for number in range(count)]
    _remove(names)
    try:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("address", "add", f"{HOST}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        made = {f"{HOST[:-1]}{number + 2}": name for number, name in enumerate(names)}
        for number, (address, name) in enumerate(made.items()):
            _add(number, address, name)
        yield {address: ("ip", "netns", "exec", name) for address, name in made.items()}
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    finally:
        _remove(names)


def _add(number: int, address: str, name: str) -> None:
    ours = f"{_LINK}{number}"
    _ip("netns", "add", name)
    _ip("link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", ours, "master", _BRIDGE, "up")
    _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    _ip("-n", name, "link", "set", "lo", "up")


def _remove(names: list[str]) -> None:
    for number, name in enumerate(names):
        for arguments in (("link", "delete", f"{_LINK}{number}"), ("netns", "delete", name)):
            with suppress(subprocess.CalledProcessError):
                _ip(*arguments)
    with suppress(subprocess.CalledProcessError):
        _ip("link", "delete", _BRIDGE)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
