"""Hashes of everything that affects a stored vector: the digest of a model folder and the fingerprints of specs.

Each is the SHA-256 of a canonical form: JSON with sorted keys, no spaces, and all non-ASCII characters escaped. So the
same description has the same hash on every machine and Python version.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from udfs.specs import ChunkSpec, ModelSpec

_BLOCK_BYTES = 2**20


def folder_digest(files: Mapping[str, Path]) -> str:
    """Hashes a model folder: `[[path, sha256 of the content], ...]` in canonical form, sorted by path.

    Args:
        files: Every file that the loader may read, by POSIX path relative to the model folder. Documentation and
            dotfiles are not included, so editing a README does not change the digest.

    Returns:
        The digest, 64 hex digits. Renaming, adding, removing or changing a file changes it.
    """
    return _hash([[name, _content_hash(files[name])] for name in sorted(files)])


def model_fingerprint(spec: ModelSpec) -> str:
    """Hashes everything about a model that affects a stored vector; returns 64 hex digits.

    The folder's location (`path`, `revision`) is left out because the digest covers its content. The query prompt is
    left out because no stored vector depends on it. Device and floating-point type belong to a run: vectors computed
    with different ones are comparable.
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
    """Hashes everything that affects where a document is cut; returns 64 hex digits.

    The model is included because its tokenizer counts the tokens, and because its prompt and limit affect the size of a
    chunk.
    """
    return _hash(
        {
            "chunk_max_tokens": spec.max_tokens,
            "chunk_min_tokens": spec.min_tokens,
            "digest": model.digest,
            "document_prompt": model.document_prompt,
            "method": spec.method,
            "model_max_tokens": model.max_tokens,
            # A document that is not cut is the same by all rules.
            "rule": spec.rules if spec.method == "structure" else 1,
            # Spaces that were made before there were contexts have fingerprints without it.
            **({"context": list(spec.context)} if spec.context else {}),
        }
    )


def _hash(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _content_hash(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            content.update(block)
    return content.hexdigest()
