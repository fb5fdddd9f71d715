"""A parser of others, in a process of its own: reads paths from standard input and answers with texts as JSON."""

import json
import sys
import time
from collections.abc import Callable


def _kreuzberg() -> Callable[[str], str]:
    import kreuzberg

    config = kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False)
    return lambda path: str(kreuzberg.extract_file_sync(path, config=config).content)


def _markitdown() -> Callable[[str], str]:
    from markitdown import MarkItDown

    converter = MarkItDown()
    return lambda path: str(converter.convert(path).text_content)


def _docling() -> Callable[[str], str]:
    from docling.document_converter import DocumentConverter

    converter = DocumentConverter()
    return lambda path: str(converter.convert(path).document.export_to_markdown())


def main() -> None:
    """Answers one line for each."""
    convert = {"kreuzberg": _kreuzberg, "markitdown": _markitdown, "docling": _docling}[sys.argv[1]]()
    answers, sys.stdout = sys.stdout, sys.stderr
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        try:
            text = convert(json.loads(line))
        except Exception:
            text = None
        print(json.dumps({"text": text, "seconds": time.perf_counter() - start}), file=answers, flush=True)


if __name__ == "__main__":
    main()
