"""A transparent HTTP proxy before an S3 server.

`proxy` is what a test holds: it starts `process`, the proxy's own process, and talks to it. There, `exchange` serves one
client connection over `wire` (HTTP/1.1 from socket to socket), `controls` holds what all connections share, and `policy`
decides and counts without sockets.
"""

from raycache.testing.proxy.policy import Fault as Fault
from raycache.testing.proxy.policy import FaultKind as FaultKind
from raycache.testing.proxy.policy import ProxyCounters as ProxyCounters
from raycache.testing.proxy.policy import RequestKind as RequestKind
from raycache.testing.proxy.policy import Shape as Shape
from raycache.testing.proxy.proxy import S3Proxy as S3Proxy
