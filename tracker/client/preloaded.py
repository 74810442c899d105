"""Loads in front what the background needs, and a forked child may need too.

A child that is forked while a thread loads a module waits for that module for ever. What only a capture needs is
loaded in the background, for no child makes one.
"""

import bisect  # noqa: F401
import re  # noqa: F401
import struct  # noqa: F401
import zlib  # noqa: F401

from tracker.client import files  # noqa: F401
