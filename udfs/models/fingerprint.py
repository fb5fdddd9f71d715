"""What decides a stored vector, hashed: the digest of a model folder and the fingerprints of specs.

Every hash here is the SHA-256 of a canonical form: JSON with sorted keys, no spaces, and every character beyond ASCII
escaped, so that the same description gives the same bytes on every machine and Python version.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from udfs.specs import ChunkSpec, ModelSpec

# Raised when the code that cuts documents changes what it cuts, so that a space built by the older rule is noticed.
CHUNKING_RULE = 1
_PIECE_BYTES = 2**20


def folder_digest(files: Mapping[str, Path]) -> str:
    """Hashes a model folder: `[[path, sha256 of the content], ...]` in canonical form, sorted by path.

    Args:
        files: Every file the loader may read, by its POSIX path relative to the model folder. Documentation and
            dotfiles are not among them, so an edited README leaves the digest as it is.

    Returns:
        The digest, 64 hex digits. Renaming, adding, removing or changing a file changes it.
    """
    return _hash([[name, _content_hash(files[name])] for name in sorted(files)])


def model_fingerprint(spec: ModelSpec) -> str:
    """Hashes everything about a model that decides a stored vector.

    Left out: where the folder lies (`path`, `revision`), for the digest says what it holds, and the query prompt, for
    no stored vector depends on it. Device and arithmetic belong to a run: their vectors are comparable.

    Args:
        spec: The model as found in its folder.

    Returns:
        The fingerprint, 64 hex digits.
    """
    return _hash(
        {
            "digest": spec.digest,
            "dimension": spec.dimension,
            "document_prompt": spec.document_prompt,
            "max_tokens": spec.max_tokens,
            "normalize": spec.normalize,
            "precision": spec.precision,
        }
    )


def chunking_fingerprint(spec: ChunkSpec, model: ModelSpec) -> str:
    """Hashes everything that decides where a document is cut.

    The model takes part because its tokenizer counts the tokens, and because its prompt and its limit take their share
    of a chunk.

    Args:
        spec: The chunking rule.
        model: The model whose tokenizer counts.

    Returns:
        The fingerprint, 64 hex digits.
    """
    return _hash(
        {
            "chunk_max_tokens": spec.max_tokens,
            "chunk_min_tokens": spec.min_tokens,
            "digest": model.digest,
            "document_prompt": model.document_prompt,
            "method": spec.method,
            "model_max_tokens": model.max_tokens,
            "rule": CHUNKING_RULE,
        }
    )


def _hash(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _content_hash(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            content.update(piece)
    return content.hexdigest()
