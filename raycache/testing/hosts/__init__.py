"""Several hosts on one machine: own kernels' worth of network, shared memory, temporary files, names and processes.

`machines` is one host as Linux namespaces, `switch` the network between them, `fleet` both together: what a test holds.
`interpreter` is a Python process on a host that is called from outside (its loop there is `interpreter_loop`), `raylets` a
Ray cluster over hosts, and `lake` an S3 server on one.
"""

from raycache.testing.hosts.fleet import Fleet as Fleet
from raycache.testing.hosts.fleet import missing as missing
