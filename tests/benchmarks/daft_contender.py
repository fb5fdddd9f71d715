"""Daft's own embedding function as a whole job: read Parquet, embed, write Delta; prints its seconds as JSON."""

import argparse
import json
import time
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    # In an environment of its own; without stubs here.
    import daft  # type: ignore[import-not-found, unused-ignore]
    from daft.functions import embed_text  # type: ignore[import-not-found, unused-ignore]

    embedding: Any = embed_text(daft.col("text"), provider="transformers", model=arguments.model)
    began = time.perf_counter()
    rows = daft.read_parquet(arguments.texts).select(daft.col("id"), embedding.alias("embedding"))
    vectors = rows.with_column("embedding", rows["embedding"].cast(daft.DataType.list(daft.DataType.float32())))
    vectors.write_deltalake(f"{arguments.out}/vectors")
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
