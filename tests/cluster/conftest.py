"""A database that instances share."""

from __future__ import annotations

from tests.mongod import mongod
from tests.stores.conftest import mongo_database

__all__ = ["mongo_database", "mongod"]
