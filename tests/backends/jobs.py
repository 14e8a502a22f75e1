"""The jobs of a backend, and how its dialect writes them. Only `created_at` depends on the time."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(slots=True, kw_only=True)
class Dialect:
    """How a backend differs from the plain format, which the defaults are."""

    key: str | None = None
    looks: int | None = 3  # until a job has ended; None: it never does
    words: tuple[str, str, str, str] = ("queued", "in_progress", "completed", "failed")
    progress: Literal["number", "missing", "percent", "zero"] = "number"
    job_id: Literal["plain", "long", "changing"] = "plain"
    creates: Literal["any", "form", "json", "reset", "silent", "held", "late", "lost", "asks for time"] = (
        "any"
    )
    failure: Literal["job", "string", "http 500", "within a message"] = "job"
    content: Literal[
        "video", "none", "late", "as json", "redirect", "url", "reset", "endless", "asks for time", "not yet"
    ] = "video"
    loses_every_other_look: bool = False
    trouble: tuple[int, str] | None = None  # the status and body that every call gets
    limit: dict[str, str] | None = None  # the headers of the 429 that every look gets
    advice: dict[str, str] = field(default_factory=dict)  # headers of all that is said of a job
    drips: Literal["nothing", "looks", "content"] = "nothing"
    deletes: bool = True
    lists: Literal["jobs", "no prompts", "no route", "error"] = "jobs"


@dataclass(slots=True)
class Job:
    """One job, and how often it was asked for."""

    id: str
    order: dict[str, Any]
    created_at: float = field(default_factory=time.time)
    looks: int = 0
    contents: int = 0


class Jobs:
    """All jobs, by id. They go on by being looked at; a prompt with ``[fail]`` fails."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.film_url = ""  # the film on another port, which is another origin
        self.all: dict[str, Job] = {}

    def create(self, order: dict[str, Any]) -> Job:
        number = len(self.all)
        job_id = f"video_{number:032x}"
        if self.dialect.job_id == "long":
            job_id = "video_" + b64encode(f"litellm:{number}:>>~~??".encode() * 14).decode() + "="
        self.all[job_id] = Job(job_id, order)
        return self.all[job_id]

    def has_ended(self, job: Job) -> bool:
        return self.dialect.looks is not None and job.looks >= self.dialect.looks

    def has_failed(self, job: Job) -> bool:
        return self.has_ended(job) and "[fail]" in job.order["prompt"]

    def shown(self, job: Job) -> dict[str, Any]:
        """The job as the dialect writes it."""
        queued, running, completed, failed = self.dialect.words
        status = queued if job.looks == 0 else running
        if self.has_ended(job):
            status = failed if self.has_failed(job) else completed
        names = ("prompt", "model", "seconds", "size")
        body = {
            "id": job.id,
            "object": "video",
            "created_at": int(job.created_at),
            "status": status,
            "error": None,
        }
        body |= {name: job.order[name] for name in names if name in job.order} | self._progress(job)
        if self.dialect.job_id == "changing":
            body["id"] = f"{job.id}_{job.looks}"
        if self.has_failed(job):
            body["error"] = self._error()
        elif self.has_ended(job) and self.dialect.content == "url":
            body["url"] = self.film_url
        return body

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of the list, newest first."""
        jobs = [self.shown(job) for job in reversed(self.all.values())]
        after = query.get("after")
        start = next((number for number, job in enumerate(jobs, 1) if job["id"] == after), 0)
        end = start + int(query.get("limit", "20"))
        if self.dialect.lists == "no prompts":
            for job in jobs:
                del job["prompt"]
        return {"object": "list", "data": jobs[start:end], "has_more": end < len(jobs)}

    def _progress(self, job: Job) -> dict[str, Any]:
        of_looks = self.dialect.looks or 100
        number = min(100, 100 * job.looks // of_looks)
        match self.dialect.progress:
            case "missing":
                return {}
            case "percent":
                return {"progress": f"{number}%"}
            case "zero":
                return {"progress": 100 if self.has_ended(job) else 0}
            case "number":
                return {"progress": number}

    def _error(self) -> object:
        message = "CUDA out of memory"
        return message if self.dialect.failure == "string" else {"code": 500, "message": message}
