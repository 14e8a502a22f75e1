"""One line a request."""

from __future__ import annotations

import logging
from typing import Final

from tornado.web import RequestHandler

WEBSOCKET_PATH: Final = "/ws"

log = logging.getLogger(__name__)


def log_request(handler: RequestHandler) -> None:
    """Log a request that has ended; never its query, which may hold a token or a link's permission.

    A WebSocket is no request: its line would come when it closes, hours later.
    """
    request = handler.request
    if request.path == WEBSOCKET_PATH:
        return
    status, ms = handler.get_status(), round(request.request_time() * 1000)
    log.info("%s %s %d %d ms", request.method, request.path, status, ms, extra={"action": "request"})
