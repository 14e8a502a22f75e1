"""Lists the settings from the definitions that the server reads them by.

python docs/list_settings.py            # write docs/settings.md
python docs/list_settings.py --check    # exit 1 where it is stale
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Final

from sora_ws.settings import Settings, setting_name, shown_default

PAGE: Final = Path(__file__).with_name("settings.md")
ENV_FILE: Final = Path(__file__).parents[1] / "conf" / "sora-ws.env"

HEAD: Final = """\
# Settings

None of them has to be set. The tables are made from [`sora_ws/settings.py`](../sora_ws/settings.py)
by `docs/list_settings.py`; a test says when they are stale. [`conf/sora-ws.env`](../conf/sora-ws.env)
has the same settings with more words, ready to be changed.

- A setting is an environment variable, or a `KEY=value` line in the file of `--config`. The
  environment wins over the file.
- In both, a trailing ` # comment` is no part of a value unless the value is quoted. An empty value
  is the default.
- A secret may stand in a file of its own, which `JWT_SECRET_FILE` names instead of `JWT_SECRET`.
  This works for every setting. To set both is an error.
- A wrong value stops the start with one line that names it and exit status 78. An unknown name in
  the file is warned of, with the name that it looks like.
- `sora-ws check` reads the settings and tries the database, the provider and Redis without serving.
- Times are in ms unless the name says `SECONDS`, sizes in bytes. Numbers are whole."""

TAIL: Final = """\
## Not settings

The key of the tokens, where `JWT_SECRET` is not set, the secret of callbacks, where `CALLBACK_SECRET` is
not, and the key of the links to videos are made once and kept in the database. Whoever restores the
database has them again.

These variables of the environment count too:

| name | what for |
| --- | --- |
| `STATE_DIRECTORY` | systemd's state folder, the default of `STATE_DIR` |
| `XDG_STATE_HOME` | where the state folder is otherwise |
| `XDG_CONFIG_HOME` | where the command line keeps its sign-in |
| `LC_ALL`, `LANG` | the default of `MESSAGE_LANGUAGE` |
| `http_proxy`, `https_proxy`, `no_proxy` | the way to the video API |
| `SORA_WS_URL`, `SORA_WS_TOKEN` | which server [the command line](cli.md) speaks to, and as whom |
"""


def sections() -> Iterator[tuple[str, list[str]]]:
    """The parts of conf/sora-ws.env: title and names."""
    for part in re.split(r"^# --- ", ENV_FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        yield part.partition(" ---")[0], re.findall(r"^#([A-Z_]+)=", part, re.MULTILINE)


def allowed(f: Field[Any]) -> str:
    """What may be written, in the words of the error for what may not; empty where anything may."""
    try:
        f.metadata["read"]("?")
    except ValueError as error:
        return str(error).removeprefix("a whole number from ")
    return ""


def row(f: Field[Any]) -> str:
    return f"| `{setting_name(f)}` | {_default(f)} | {allowed(f)} | {f.metadata['about']} |"


def page() -> str:
    rows = {setting_name(f): row(f) for f in fields(Settings)}
    head = ["| name | default | value | what it is |", "| --- | --- | --- | --- |"]
    tables = ["\n".join([f"## {title}\n", *head, *map(rows.pop, names)]) for title, names in sections()]
    if rows:
        raise LookupError(f"{ENV_FILE.name} lacks {', '.join(rows)}")
    return "\n\n".join([HEAD, *tables, TAIL])


def _default(f: Field[Any]) -> str:
    """Values as they are typed stand out from words about them."""
    default = shown_default(f)
    return default if " " in default or default == "none" else f"`{default}`"


def main() -> int:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is stale: run python docs/list_settings.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
