"""What HEALTHCHECK runs inside a container: is the service on this port alive?

`python healthcheck.py PORT` exits with 0 if /livez answers 200, with 1 otherwise.
"""

from __future__ import annotations

import http.client
import sys

# Below HEALTHCHECK's own limit, so that the answer is ours.
_TIMEOUT_S = 4.0


def is_alive(port: int) -> bool:
    """Ask /livez on this machine's `port`; False for any other answer, and for none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(int(sys.argv[1])) else 1)
