"""`python -m edge_adapt` is the same as the `edge-adapt` command."""

import sys

from .cli import main

sys.exit(main())
