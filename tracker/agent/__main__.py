"""`python -m tracker.agent`."""

import sys

from tracker.agent.main import main

sys.exit(main(sys.argv[1:]))
