"""When a failed video is tried again: the waiting time doubles with each failed try, up to 30 days.

Standard library only: decoder processes import this module, and pydantic or h5py would delay their start.
"""

import math
from datetime import datetime, timedelta

AT_ONCE_S = 0.0
"""First wait after a reason outside the video, for example a missing file or a full disk: none."""
SOON_S = 60.0
"""First wait after a reason that may pass but costs time: a decoder that hung or was killed."""
LATER_S = 3600.0
"""First wait after a reason that lies in the file."""
LONGEST_WAIT = timedelta(days=30)


def next_try(tried_at: datetime, attempts: int, first_wait_s: float = LATER_S) -> datetime:
    """Earliest time of the next try after this many failed ones, the last of them at `tried_at`."""
    doublings = min(max(attempts, 1) - 1, 20)  # more would exceed the range of a time span
    return tried_at + min(timedelta(seconds=math.ldexp(first_wait_s, doublings)), LONGEST_WAIT)
