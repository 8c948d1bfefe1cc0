"""Opening FAISS's own bytes where they lie, without a copy: the part of loading that both kinds of index share."""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from search.errors import CorruptFile


def open_index(data: NDArray[np.uint8], kind: type[Any], rows: int, dims: int) -> tuple[Any, object]:
    """Return the FAISS index in these bytes, and what must live as long as it. Only for bytes whose checksum is known.

    kind: the class it must be of. dims: numbers of each row.

    Raises:
        CorruptFile: the bytes are no such index of this shape.
    """
    try:
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.size)  # type: ignore[attr-defined]
        whole = faiss.read_index(reader, 0)
    except RuntimeError as error:
        raise CorruptFile(f"FAISS cannot read the index: {error}") from error
    index = faiss.downcast_index(whole)
    if not isinstance(index, kind) or (index.ntotal, index.d) != (rows, dims):
        raise CorruptFile(f"the index holds {index.ntotal} rows of {index.d} dims, expected {rows} of {dims}")
    return index, (data, reader, whole)
