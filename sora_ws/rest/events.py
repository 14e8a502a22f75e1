"""The pushes as Server-Sent Events: of one task, or of all of a user's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sora_ws.push.hub import task_topic, user_topic
from sora_ws.push.sse import EventStreams
from sora_ws.rest.access_log import log_request
from sora_ws.rest.base import ApiHandler
from sora_ws.rest.context import RestContext
from sora_ws.rest.problem import Problem
from sora_ws.service import NotFound
from sora_ws.task import Task

SEQ: Final = re.compile(r"[0-9]{1,18}")
HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "X-Accel-Buffering": "no",  # Nginx would keep events until it has some KB of them
    "Connection": "close",  # the end of the line is the end of the body
}


class _StreamHandler(ApiHandler):
    """What both calls share: how far the client has come, and the answer that stays open."""

    takes_token_in_query = True  # an EventSource can't send headers

    def initialize(self, context: RestContext, streams: EventStreams) -> None:  # type: ignore[override]
        super().initialize(context)
        self.streams = streams

    @property
    def last_seq(self) -> int | None:
        """The `seq` of the last event that the client has heard; None where it comes for the first time."""
        given = self.request.headers.get("Last-Event-ID", "")
        return int(given) if SEQ.fullmatch(given) else None

    async def stream(self, topic: str, states: Sequence[Task], task_id: str | None = None) -> None:
        """Answer with these states and then with what comes; nothing may have been waited for since."""
        await self.admit()  # again: while the store was asked the user may have been disabled
        refusal = self.streams.lines.refusal(self.address, self.viewer.user_id)
        if refusal is not None:
            retry_after = {"Retry-After": str(refusal.retry_after_s)}
            raise Problem(refusal.status, f"Not now: {refusal.reason}.", headers=retry_after)
        for name, value in HEADERS.items():
            self.set_header(name, value)
        if self.request.method == "HEAD":
            return
        # To REST the request ends here: a stop doesn't wait for it, and its line in the log is due now.
        self._under_way.end(self)
        log_request(self)
        head, line = self._head(), self.detach()
        await self.streams.open(
            line, head=head, identity=self.identity, topic=topic, states=states, task_id=task_id
        )

    def _head(self) -> bytes:
        """Not by Tornado, which would send the body in chunks: a push is the same bytes for all."""
        lines = [f"{name}: {value}" for name, value in self._headers.get_all()]
        return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1")


class TaskEventsHandler(_StreamHandler):
    """`/api/videos/{videoId}/events`."""

    async def get(self, video_id: str) -> None:
        """The task from now to its end; 204, for which an EventSource stays away, behind that."""
        task = self.streams.hub.newest(video_id)
        if task is None or not task.may_be_seen_by(self.viewer):
            task = await self.streams.reads.task(video_id)
        if task is None or not task.may_be_seen_by(self.viewer):
            raise NotFound(f"there is no video {video_id}")
        if not task.is_live and self.last_seq is not None and self.last_seq >= task.seq:
            self.set_status(204)
            return
        await self.stream(task_topic(video_id), [task], task.id)


class EventsHandler(_StreamHandler):
    """`/api/events`."""

    async def get(self) -> None:
        """All my tasks: the live ones, those that ended since the client's last event, and what comes."""
        user_id, last_seq = self.viewer.user_id, self.last_seq
        topic = user_topic(user_id)
        with self.streams.hub.following(topic) as published:
            live = await self.streams.reads.live(topic, user_id=user_id)
            # Behind the live ones: what ends between the two reads is in both, and not in neither.
            ended = [] if last_seq is None else await self.context.service.ended_since(user_id, last_seq)
        # By seq, so that who is cut off in the middle comes back with that of the last one it has heard.
        rising = sorted([*live, *ended, *published.values()], key=_seq)
        newest = {task.id: task for task in rising}  # which may be the same one in two of them
        await self.stream(topic, sorted(newest.values(), key=_seq))


def _seq(task: Task) -> int:
    return task.seq
