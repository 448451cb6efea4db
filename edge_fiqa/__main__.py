"""`python -m edge_fiqa`: the same as the `edge-fiqa` command."""

import sys

from edge_fiqa.cli import main

sys.exit(main())
