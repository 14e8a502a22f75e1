"""`python -m sora_ws` is `sora-ws`."""

import sys

from sora_ws.cli import main

sys.exit(main())
