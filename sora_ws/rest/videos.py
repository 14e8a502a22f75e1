"""Tasks: `/api/videos` and what lies below."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from sora_ws.rest.base import ApiHandler
from sora_ws.rest.context import RestContext
from sora_ws.rest.orders import read_create, read_idempotency, read_retry
from sora_ws.rest.problem import FieldError, Problem, wrong_field
from sora_ws.rest.views import TaskPage, TaskView, cursor_behind, place_of, view
from sora_ws.store import Page
from sora_ws.task import Status, Task

LIMIT_MAX: Final = 100
LIMIT_USUAL: Final = 20
FILTERS: Final = frozenset({"status", "team", "limit", "cursor"})


class _TasksHandler(ApiHandler):
    """What the handlers of tasks share: how a task is shown."""

    def shown(self, task: Task) -> TaskView:
        return view(task, self.context.presenter, self.context.clock())

    def reply_created(self, task: Task) -> None:
        """202: the task is kept, and its work goes on."""
        self.set_header("Location", f"/api/videos/{task.id}")
        self.reply(self.shown(task), 202)


class VideosHandler(_TasksHandler):
    """`/api/videos`."""

    def initialize(self, context: RestContext) -> None:  # type: ignore[override]
        super().initialize(context)
        if self.request.method == "POST":
            self.body_bytes_max = context.settings.max_body_bytes

    async def post(self) -> None:
        """Ask for a video."""
        # Off the loop: ten MB of JSON with an image in base64 take some 40 ms.
        request = await asyncio.to_thread(read_create, self.body, self.request.headers)
        task = await self.context.service.create(
            self.viewer,
            request.order(self.context.settings.sora_model),
            team=request.body.team,
            reference=request.image,
            callback=request.callback(self.context.settings.callback_allow),
            idempotency=read_idempotency(self.request.headers, request),
        )
        self.reply_created(task)

    async def get(self) -> None:
        """My tasks, or my team's."""
        page = self._page()
        # One more than asked for tells whether there is a next page.
        tasks = await self.context.service.list(self.viewer, page)
        items = [self.shown(task) for task in tasks[: page.limit - 1]]
        more = len(tasks) == page.limit
        self.set_header("Cache-Control", "private, no-cache")
        self.reply(TaskPage(items, cursor_behind(tasks[page.limit - 2]) if more else None))

    def _page(self) -> Page:
        given = self._filters()
        cursor = given.get("cursor")
        return Page(
            user_id=self.viewer.user_id,
            team=given.get("team"),
            status=_status(given.get("status")),
            before=None if cursor is None else place_of(cursor),
            limit=_limit(given.get("limit")) + 1,
        )

    def _filters(self) -> dict[str, str]:
        """The query. A filter that is unknown or there twice is refused: it would be passed over unseen."""
        given = {name: self.get_query_arguments(name) for name in self.request.query_arguments}
        errors = [
            FieldError(name, "there is no such filter" if name not in FILTERS else "one value")
            for name, values in given.items()
            if name != "access_token" and (name not in FILTERS or len(values) != 1)
        ]
        if errors:
            raise Problem(422, f"{errors[0].field}: {errors[0].message}", errors=errors)
        return {name: values[0] for name, values in given.items()}


class VideoHandler(_TasksHandler):
    """`/api/videos/{videoId}`."""

    async def get(self, video_id: str) -> None:
        """One task."""
        task = await self.context.service.get(self.viewer, video_id)
        self.set_header("Cache-Control", "private, no-cache")
        self.reply(self.shown(task))

    async def delete(self, video_id: str) -> None:
        """Forget it, and its video."""
        await self.context.service.delete(self.viewer, video_id)
        self.set_status(204)


class CancelHandler(_TasksHandler):
    """`/api/videos/{videoId}/cancel`."""

    async def post(self, video_id: str) -> None:
        """Call it off."""
        self.reply(self.shown(await self.context.service.cancel(self.viewer, video_id)), 202)


class RetryHandler(_TasksHandler):
    """`/api/videos/{videoId}/retry`."""

    async def post(self, video_id: str) -> None:
        """A new task from an ended one."""
        body = read_retry(self.body, self.request.headers)
        self.reply_created(await self.context.service.retry(self.viewer, video_id, body.prompt))


class CallbackHandler(_TasksHandler):
    """`/api/videos/{videoId}/callback`."""

    async def post(self, video_id: str) -> None:
        """Tell its end again."""
        self.reply(self.shown(await self.context.service.call_back(self.viewer, video_id)), 202)


def _status(text: str | None) -> Status | None:
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        raise wrong_field("status", f"one of {', '.join(Status)}") from None


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_USUAL
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise wrong_field("limit", f"a whole number from 1 to {LIMIT_MAX}")
    return int(text)
