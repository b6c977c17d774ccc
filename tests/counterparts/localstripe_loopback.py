"""Run localstripe on one loopback port, without writing its store to disk. Runs in localstripe's own environment.

Its own command listens on every interface and pickles its whole store into one shared file on every write.
Usage: python localstripe_loopback.py PORT
"""

import sys

from aiohttp import web
from localstripe import resources, server


def main() -> None:
    resources.Store.dump_to_disk = lambda self: None
    web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
