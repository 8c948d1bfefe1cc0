"""What the outputs of a classifier are called: a fine-tuned model's own names, or ImageNet's from timm's tables."""

import functools
from collections import Counter
from pathlib import Path

from indexer.backbones.timm_library import timm
from indexer.backbones.timm_models import LoadedNetwork
from search.errors import UsageError


def class_names(loaded: LoadedNetwork) -> tuple[str, ...]:
    """Return the names of a network's classes in the order of its outputs, no two of them alike.

    Raises:
        UsageError: it has no classifier, or one whose classes nobody has named.
    """
    if not loaded.classes:
        raise UsageError(
            f"{loaded.file} holds no classifier, so it names no classes: pass weights with their classifier"
        )
    return loaded.class_names or imagenet_names(loaded.classes, loaded.name)


def imagenet_names(classes: int, backbone: str) -> tuple[str, ...]:
    """Return the names of a classifier's ImageNet classes, such as `tabby, tabby cat`.

    Which ImageNet it is (1k, 12k, 21k, 22k, ...) follows from the number of classes: no two have as many. Where a
    table has a name twice, such as the two cranes, both carry their WordNet id: `crane, n02012849`.

    backbone: for the message.

    Raises:
        UsageError: no ImageNet has as many classes.
    """
    subset = timm.data.infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        raise UsageError(
            f"the {classes} outputs of {backbone} are no ImageNet classes, and nobody has named them: pass a text file "
            "with one name a line as --classes, or choose another backbone"
        )
    return _names_of(subset)


@functools.cache
def _names_of(subset: str) -> tuple[str, ...]:
    info = timm.data.ImageNetInfo(subset)
    names, ids = info.label_descriptions(), info.label_names()
    often = Counter(names)
    return tuple(f"{name}, {key}" if often[name] > 1 else name for name, key in zip(names, ids, strict=True))


def read_class_names(file: Path, classes: int) -> tuple[str, ...]:
    """Return the class names of a text file: one a line, in the order of the outputs.

    Raises:
        UsageError: it cannot be read, or does not name each class, each by a name of its own.
    """
    try:
        names = tuple(line.strip() for line in file.read_text("utf-8-sig").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}; --classes takes a UTF-8 text file, one name a line") from error
    if len(names) != classes:
        raise UsageError(f"{file} has {len(names)} lines, and the classifier has {classes} outputs: one name each")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice or "" in names:
        raise UsageError(
            f"{file} {'has ' + repr(twice[0]) + ' twice' if twice else 'has an empty line'}: name each once"
        )
    return names
