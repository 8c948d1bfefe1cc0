"""What requests send to be taken in: pictures of forms, or addresses in JSON, with what is said of each."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import UploadFile

from api.http.allowed_sources import AllowedSources
from api.http.exact_json import exact_json
from api.http.forms import form_of
from api.http.problems import unsupported_media
from api.http.request_parts import json_body, media_type, parsed, parsed_form
from api.ingesting import Keep, OnDuplicate, Sent
from api.shapes.images import Label as LabelShape
from api.shapes.ingest import MOST_AT_ONCE, Described, FormFields, PutFields, PutUri, UriBody, UriItem, UrisBody
from search.conditions.user_metadata import checked
from search.errors import UsageError
from search.records import Label

MOST_LETTERS: Final = 200  # of a label
FIELDS: Final = 3 * MOST_AT_ONCE + 8
WANTED: Final = "application/json or multipart/form-data"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Pictures to take in. items: each as it came, or an address that is still to be fetched, as `uri`, with no data.

    digest: sha256 of all that is asked, however it was sent.
    """

    items: tuple[Sent, ...]
    keep: Keep
    on_duplicate: OnDuplicate
    digest: bytes

    def of_key(self, key: str) -> bytes:
        """Return the digest of this and the key that it is for."""
        return hashlib.sha256(self.digest + key.encode()).digest()


async def wanted_images(request: Request) -> Wanted:
    """Return the pictures that a request sends.

    Raises:
        HTTPException: 415, it is neither a form nor JSON.
        RequestValidationError, UsageError: a value cannot be used.
    """
    kind = media_type(request)
    if kind == "application/json":
        values = await json_body(request)
        if isinstance(values, dict) and "items" in values:
            several = parsed(UrisBody, values)
            return _wanted([sent_of(one) for one in several.items], several.keep, several.on_duplicate)
        one = parsed(UriBody, values)
        return _wanted([sent_of(one)], one.keep, one.on_duplicate)
    if kind != "multipart/form-data":
        raise unsupported_media(kind, WANTED)
    async with form_of(request, max_files=MOST_AT_ONCE, max_fields=FIELDS) as form:
        fields = parsed_form(FormFields, form, lists=("key", "metadata", "labels"))
        files = _files([(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)])
        said = _said(fields, len(files))
        items = [
            _described(Sent(await file.read(), _name(number, len(files))), one)
            for number, (file, one) in enumerate(zip(files, said, strict=True), start=1)
        ]
    return _wanted(items, fields.keep, fields.on_duplicate)


async def wanted_put(request: Request) -> Wanted:
    """Return the one picture that a request sends for a key.

    Raises:
        HTTPException: 415, it is neither a form nor JSON.
        RequestValidationError, UsageError: a value cannot be used.
    """
    kind = media_type(request)
    if kind == "application/json":
        body = parsed(PutUri, await json_body(request))
        said = Described(metadata=body.metadata, labels=body.labels)
        return _wanted([_described(Sent(b"", body.uri, uri=body.uri), said)], body.keep, "allow")
    if kind != "multipart/form-data":
        raise unsupported_media(kind, WANTED)
    async with form_of(request, max_files=1, max_fields=8) as form:
        fields = parsed_form(PutFields, form)
        (file,) = _files([(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)])
        said = _from_text(None, fields.metadata, fields.labels)
        return _wanted([_described(Sent(await file.read(), "the picture"), said)], fields.keep, "allow")


async def fetched(sent: Sent, sources: AllowedSources) -> Sent:
    """Return a picture with its bytes, fetched where only its address came.

    Raises:
        UsageError: this address is not one that may be fetched.
        BadImage: the file there cannot be read.
    """
    if sent.uri is None:
        return sent
    found = await sources.get(sent.uri)
    return replace(sent, data=found.data, uri=found.uri, named=found.named, mtime_ns=found.mtime_ns)


def _files(parts: Sequence[tuple[str, UploadFile]]) -> list[UploadFile]:
    strange = sorted({name for name, _ in parts} - {"image"})
    if strange:
        raise UsageError(f"pictures belong in the form field `image`, not {strange[0]!r}")
    if not parts:
        raise UsageError('give the picture in the form field `image`, or its address as JSON: {"uri": ...}')
    return [file for _, file in parts]


def _said(fields: FormFields, pictures: int) -> list[Described]:
    """Return what the fields of a form say of each picture."""
    for name in ("key", "metadata", "labels"):
        given = len(getattr(fields, name))
        if given not in (0, pictures):
            raise UsageError(f"{pictures} pictures came with {given} fields `{name}`: send none, or one for each")

    def at(values: list[str], number: int) -> str | None:
        return values[number] if values else None

    return [
        _from_text(at(fields.key, number), at(fields.metadata, number), at(fields.labels, number))
        for number in range(pictures)
    ]


def _from_text(key: str | None, metadata: str | None, labels: str | None) -> Described:
    values = {"key": key or None, "metadata": _json("metadata", metadata), "labels": _json("labels", labels)}
    return parsed(Described, values)


def _json(name: str, text: str | None) -> Any:
    if not text:
        return None
    return exact_json(text, f"the form field `{name}`")


def sent_of(item: UriItem | UriBody) -> Sent:
    """Return what is said of a picture that is still to be fetched, its address as `uri`.

    Raises:
        UsageError: its metadata or labels cannot be stored.
    """
    return _described(Sent(b"", item.uri, uri=item.uri), item)


def _described(sent: Sent, said: Described) -> Sent:
    metadata = None if said.metadata is None else checked(said.metadata)
    return replace(sent, key=said.key, metadata=metadata, labels=_labels(said.labels))


def _labels(labels: Sequence[LabelShape] | None) -> tuple[Label, ...] | None:
    if not labels:
        return None
    if len({one.label for one in labels}) < len(labels):
        raise UsageError("a picture has the same label twice")
    for one in labels:
        if not 0 < len(one.label) <= MOST_LETTERS or not one.label.isprintable():
            raise UsageError(f"the label {one.label[:40]!r} cannot be stored: 1 to {MOST_LETTERS} printable letters")
    return tuple(Label(one.label, one.probability) for one in sorted(labels, key=lambda one: -one.probability))


def _name(number: int, of: int) -> str:
    return "the picture" if of == 1 else f"picture {number}"


def _wanted(items: Sequence[Sent], keep: Keep, on_duplicate: OnDuplicate) -> Wanted:
    told = [
        [hashlib.sha256(one.data).hexdigest(), one.key, one.uri, one.metadata, [x.as_json() for x in one.labels or ()]]
        for one in items
    ]
    text = json.dumps([told, keep, on_duplicate], sort_keys=True)
    return Wanted(tuple(items), keep, on_duplicate, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
