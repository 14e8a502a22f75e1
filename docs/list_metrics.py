"""Lists the metrics from the definitions that the server counts them by.

python docs/list_metrics.py            # write docs/metrics.md
python docs/list_metrics.py --check    # exit 1 where it is stale
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from sora_ws.metrics import FIGURES, Figure

PAGE: Final = Path(__file__).with_name("metrics.md")

HEAD: Final = """\
# Metrics

`GET /metrics` answers in Prometheus' text format. Without `METRICS_TOKEN` only this machine may read it: a
request from elsewhere gets 403, also through a proxy that tells whose it is. With it, whoever sends the
token as `Authorization: Bearer …`; everybody else gets 401.

The table is made from [`sora_ws/metrics.py`](../sora_ws/metrics.py) by `docs/list_metrics.py`; a test says
when it is stale. All figures are of one process, unless they say more. Those of the process itself (CPU,
memory, open files) have the usual names of prometheus-client, `process_…`.

| name | kind | labels | what it is |
| --- | --- | --- | --- |
"""

TAIL: Final = """
`call` is `look`, `check`, `create`, `list`, `download` or `delete`. `outcome` is `answered`, `missing` (no
such job), `refused`, `no content`, `no list`, `unknown` (a create of which perhaps a job came), `limited` (it
asks for time, as by 429), `operator` (a wrong key, say), `unavailable`, `held` (nothing was sent) or
`broken off`; of a callback
`delivered`, `failed` (it is tried again) or `given up`; of a webhook `taken`, `known` (it came before) or
`refused` (a wrong signature). `code` is a close code of [the protocol](protocol.md#close-codes) or of
RFC 6455, `other` for what a client has made up.

Worth an alarm: `sora_ws_provider_needs_operator` is 1; `sora_ws_provider_breaker_open` is 1 for minutes;
`sora_ws_store_up` or `sora_ws_redis_up` is 0;
`sora_ws_webhooks_total{outcome="refused"}` rises, as by a changed secret;
`sora_ws_tasks_live{state="submitting"}` only rises; more than a few in a hundred of
`sora_ws_loop_lag_seconds` above 0.1.
"""


def row(figure: Figure) -> str:
    labels = ", ".join(f"`{label}`" for label in figure.labels)
    return f"| `{figure.name}` | {figure.kind} | {labels} | {figure.about} |\n"


def page() -> str:
    return HEAD + "".join(map(row, FIGURES)) + TAIL


def main() -> int:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is stale: run python docs/list_metrics.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
