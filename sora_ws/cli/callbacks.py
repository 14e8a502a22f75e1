"""`secret`: what the receivers of callbacks have to know."""

from __future__ import annotations

from argparse import Namespace

from sora_ws.backing import callback_secrets
from sora_ws.cli.database import on_database
from sora_ws.cli.output import print_or_json


def secret(args: Namespace) -> int:
    """`secret`"""
    secrets = [secret.reveal() for secret in on_database(args.config, callback_secrets)]
    print_or_json("\n".join(secrets), {"secrets": secrets}, as_json=args.json)
    return 0
