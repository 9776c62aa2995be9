"""Is the service of this container well? Asks the URL that is given; exits with 1 unless it answers 200.

The slim image has no curl.
"""

import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(sys.argv[1], timeout=5).close()
except (urllib.error.URLError, TimeoutError) as error:
    sys.exit(f"{sys.argv[1]}: {error}")
