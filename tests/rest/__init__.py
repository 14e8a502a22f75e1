"""Tests of HTTP, through a real socket."""
