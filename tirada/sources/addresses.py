"""Which internet addresses are out in the open, and which lead back into somebody's own network.

Invariant: an address is public only where it is known to be; whatever wraps another address is judged by that one, or
not let through at all.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

#: Beside what ``is_global`` says, which differs between versions of Python. From IANA's special-purpose registries.
_NOT_PUBLIC_4 = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, where clouds keep their metadata service
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
#: The only part of the IPv6 space that is given out for use in the open.
_GIVEN_OUT = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
#: Clouds that put services for their own machines on an address that is public by its number.
_INNER = {ip_address("168.63.129.16")}
#: Prefixes whose last 32 bits are an IPv4 address: IPv4-mapped, and the well-known one of NAT64 (RFC 6052).
_WRAPPING = [IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")]
#: The second half of an ISATAP address, before its IPv4 address (RFC 5214); with and without the bit for "universal".
_ISATAP = (0x00005EFE, 0x02005EFE)
_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|\d+)")


def is_public(address: Address) -> bool:
    """Whether packets to the address leave for the open internet, as far as the address itself can say."""
    if isinstance(address, IPv4Address):
        inner = address in _INNER or any(address in network for network in _NOT_PUBLIC_4)
        return address.is_global and not inner
    if address.scope_id is not None:
        return False
    if any(address in network for network in _WRAPPING):
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        return False
    inner = address not in _GIVEN_OUT or any(address in network for network in _NOT_PUBLIC_6)
    return address.is_global and not inner


def read_host(host: str) -> Address | None:
    """The address that a host of a URL spells out, without brackets; None where it is a name.

    Raises ValueError for what some programs would read as an address and others would not: octal, hexadecimal and
    shortened numbers, and everything else that ends in a number.
    """
    if ":" in host:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise ValueError("an address with a zone")
        return address
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    # Refuses leading zeros, short forms and anything but decimal digits.
    return IPv4Address(host)
