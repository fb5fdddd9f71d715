"""A file is one subject of about 400 lines at most, and a function fits a screen."""

import ast

from tests.support.code_tree import Code, read_code

CODE = read_code()
MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 40


def long_files(code: Code) -> list[str]:
    lengths = {module.path: len(module.source.splitlines()) for module in code}
    return [f"{path}: {length} lines" for path, length in lengths.items() if length > MOST_FILE_LINES]


def long_functions(code: Code) -> list[str]:
    return [
        f"{module.path}:{function.lineno} {function.name}: {lines_of_code(function)} lines"
        for module in code
        for function in module.functions
        if lines_of_code(function) > MOST_FUNCTION_LINES
    ]


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end; a docstring is documentation and may be as long as it has to be."""
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    documentation = (first.end_lineno or first.lineno) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - documentation


def test_a_file_fits_in_a_reader_s_head() -> None:
    assert not long_files(CODE)


def test_a_function_fits_on_a_screen() -> None:
    assert not long_functions(CODE)


def test_files_and_functions_over_the_limit_are_named() -> None:
    documented = 'def documented():\n    """Doc.\n' + "    more\n" * 50 + '    """\n' + "    x = 1\n" * 38
    code = Code(
        {
            "udfs/topk.py": "\n" * 400,
            "udfs/specs.py": "\n" * 401,
            "udfs/worker.py": documented + "    x = 1\ndef long():\n" + "    x = 1\n" * 40,
            "udfs/search.py": "class A:\n    async def long(self):\n" + "        x = 1\n" * 40,
        }
    )
    assert long_files(code) == ["udfs/specs.py: 401 lines"]
    assert long_functions(code) == ["udfs/search.py:2 long: 41 lines", "udfs/worker.py:93 long: 41 lines"]
