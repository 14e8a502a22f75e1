"""`python -m sora_ws.cli.reference > docs/cli.md` writes every command's help as one page."""

from __future__ import annotations

from collections.abc import Iterator

from sora_ws.cli.parser import Parser, build_parser

HEAD = """\
# Command line

Made from the help of the commands by `python -m sora_ws.cli.reference > docs/cli.md`.

| exit status | meaning |
| --- | --- |
| 0 | done; of `watch` and `create --watch`: the video is there |
| 1 | failed; of `watch` and `create --watch`: the task too |
| 2 | wrong usage |
| 78 | a setting is wrong |
| 130, 141 | ended by Ctrl-C, or by a closed pipe |

Results go to stdout, everything else to stderr. With `--json` each result is one JSON document on one line:
the task of `create`, each message of `watch` as it comes, the page of `list`.
"""


def reference() -> str:
    """The page, as Markdown."""
    return "\n".join([HEAD, *_sections(build_parser())])


def _sections(parser: Parser) -> Iterator[str]:
    yield f"## `{parser.prog}`\n\n```text\n{parser.format_help()}```\n"
    for child in parser.children:
        yield from _sections(child)


if __name__ == "__main__":
    print(reference(), end="")
