"""Weights that may be used for some purposes only, and the consent they ask for before they are fetched."""

from indexer.backbones import registry
from indexer.backbones.builtin_facts import BUILTIN, LICENCE
from search.errors import LicenceNotAccepted, UsageError

# How the licences begin that timm's weights carry and that allow research or private use only.
NON_COMMERCIAL = ("cc-by-nc", "fair-noncommercial", "apple-amlr", "seer-license")


def licence_of(name: str) -> str | None:
    """Return the licence of a backbone's weights by its name, without any weights; None when nobody states one.

    Raises:
        BackboneNotFound: there is no such backbone.
    """
    if name == BUILTIN:
        return LICENCE
    registered = registry.find(name)
    if registered is not None:
        return registered.licence
    from indexer.backbones.timm_models import model_card

    return model_card(name).licence


def asks_for_consent(licence: str | None) -> bool:
    """Tell whether weights of this licence may not be used for everything."""
    return _spelled(licence).startswith(NON_COMMERCIAL)


def require_accepted(licence: str | None, accepted: str | None, name: str) -> None:
    """Return when the weights of a backbone may be used: their licence asks for no consent, or has it.

    accepted: the licence that a user agreed to, if any. name: the backbone, for the message.

    Raises:
        LicenceNotAccepted: nobody agreed.
        UsageError: somebody agreed to another licence.
    """
    wanted = _spelled(licence)
    if not asks_for_consent(licence) or _spelled(accepted) == wanted:
        return
    if accepted is not None:
        raise UsageError(f"--accept-license {accepted}: the weights of {name} are under {wanted}, accept that one")
    raise LicenceNotAccepted(
        f"the weights of {name} are under {wanted}: no commercial use, and terms of its own where they are shared; "
        f"if that suits you, say --accept-license {wanted}"
    )


def require_known(accepted: str | None) -> None:
    """Refuse consent that no weights ask for, before it is written down.

    Raises:
        UsageError: the licence is none of those that ask for consent.
    """
    if accepted is not None and not asks_for_consent(accepted):
        raise UsageError(f"--accept-license {accepted}: no weights ask for it; cc-by-nc-4.0 is one that some do")


def _spelled(licence: str | None) -> str:
    return (licence or "").strip().casefold()
