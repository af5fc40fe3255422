"""A transparent HTTP proxy before an S3 server: `S3Proxy` starts it, `process` is its own process."""

from raycache.testing.proxy.policy import Fault as Fault
from raycache.testing.proxy.policy import FaultKind as FaultKind
from raycache.testing.proxy.policy import ProxyCounters as ProxyCounters
from raycache.testing.proxy.policy import RequestKind as RequestKind
from raycache.testing.proxy.policy import Shape as Shape
from raycache.testing.proxy.proxy import S3Proxy as S3Proxy
