"""Loads what the background needs of the standard library, in front.

A child that is forked while a thread loads a module waits for that module for ever. Our own modules may be loaded in
the background, for no child needs those.
"""

import bisect  # noqa: F401
import re  # noqa: F401
import struct  # noqa: F401
import zlib  # noqa: F401
