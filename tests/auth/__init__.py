"""Tests of tokens and accounts."""
