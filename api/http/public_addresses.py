"""Which addresses of the internet a server may be sent to by its visitors: those that everybody can reach.

Everything else is refused: this machine, its networks, and addresses that lead to those in disguise, such as IPv4
inside IPv6. Python's own `is_global` knows the registry of special addresses, but differs between its releases about
disguises, so these are looked at here.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

# What is given out to networks that everybody can reach; anything outside is not, or is IPv4 in disguise.
GLOBAL_UNICAST = IPv6Network("2000::/3")
# Inside it, and yet not: protocols (Teredo among them), 6to4, documentation.
NEVER_IPV6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# Protocols, and relays of 6to4, of which some are global to some releases of Python.
NEVER_IPV4 = tuple(IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))


def is_public(text: str) -> bool:
    """Tell whether an address, as the system's resolver writes it, is one that everybody can reach."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NEVER_IPV4)
    if address.scope_id is not None or address not in GLOBAL_UNICAST:
        return False
    return not any(address in network for network in NEVER_IPV6)
