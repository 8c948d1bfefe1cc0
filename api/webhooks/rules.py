"""Which addresses a server calls, when a job has ended, that somebody named who started it: none, unless its owner says
so (`serve --allow-webhook`). What the owner names may lie in private networks; else everybody must reach it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from yarl import URL

from api.http.pinned import NotSafe, is_address, read_url
from api.http.public_addresses import is_public
from search.errors import UsageError

PUBLIC: Final = "public"
SCHEMES: Final = ("http", "https")
HTTPS_PORT: Final = 443
# Inside a path, some receivers read these as steps of it.
HIDDEN_STEPS: Final = ("%2f", "%5c", "%25", "..", ";")
OFF: Final = (
    "this server calls nobody when a job has ended: leave `webhook` out, or ask its owner to allow it with serve "
    "--allow-webhook"
)


class WebhookRefused(UsageError):
    """A server does not call an address that a request names."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """An address that may be called. everybody: it must lie where everybody can reach it."""

    url: URL
    everybody: bool


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """public: any https address that everybody can reach. prefixes: addresses that begin so, wherever they lie."""

    public: bool = False
    prefixes: tuple[URL, ...] = ()

    @property
    def allow_any(self) -> bool:
        """Tell whether anything may be called."""
        return self.public or bool(self.prefixes)

    def receiver(self, address: str) -> Receiver:
        """Return an address as one that may be called.

        Raises:
            WebhookRefused: it may not; the message says why.
        """
        if not self.allow_any:
            raise WebhookRefused(OFF)
        try:
            url = read_url(address)
        except NotSafe as error:
            raise WebhookRefused(f"webhook: {error}; give the address of a receiver") from None
        except ValueError:
            raise WebhookRefused("webhook: it is no URL; give the address of a receiver") from None
        if any(_begins(url, one) for one in self.prefixes):
            return Receiver(url, everybody=False)
        self._require_public(url)
        return Receiver(url, everybody=True)

    def _require_public(self, url: URL) -> None:
        if not self.public:
            raise WebhookRefused("webhook: it begins with none of the addresses that this server's owner allows")
        if url.scheme != "https" or url.port != HTTPS_PORT:
            raise WebhookRefused(
                f"webhook: its scheme is {url.scheme!r} and its port {url.port}; give an https address on port "
                f"{HTTPS_PORT}, or ask the server's owner to allow yours with serve --allow-webhook"
            )
        host = url.host or ""
        if is_address(host) and not is_public(host):
            raise WebhookRefused(f"webhook: not everybody can reach {host}; give an address that everybody can")


def rules_of(texts: Iterable[str]) -> WebhookRules:
    """Return the rules that an owner gives: `public`, and how addresses begin.

    Raises:
        UsageError: one of them is neither.
    """
    given = tuple(texts)
    return WebhookRules(PUBLIC in given, tuple(_prefix(one) for one in given if one != PUBLIC))


def _prefix(text: str) -> URL:
    try:
        url = read_url(text)
    except (NotSafe, ValueError) as error:
        why = str(error)
    else:
        if url.scheme in SCHEMES and not url.raw_query_string and not url.raw_fragment:
            return url
        why = "it is no http or https address, or has more than a path"
    raise UsageError(
        f"--allow-webhook {text!r}: {why}; give `{PUBLIC}`, or how addresses begin, such as http://hooks.internal:8080/"
    )


def _begins(url: URL, prefix: URL) -> bool:
    """Tell whether an address is below another one. The library has taken away steps that lead upwards."""
    if (url.scheme, url.raw_host, url.port) != (prefix.scheme, prefix.raw_host, prefix.port):
        return False
    above, path = prefix.raw_path.rstrip("/"), url.raw_path
    if not above:
        return True
    return (path == above or path.startswith(f"{above}/")) and not any(one in path.lower() for one in HIDDEN_STEPS)
