"""What crosses process borders: requests and replies, as columns.

A Ray call costs about 1 ms whatever it carries, and lists of objects pickle slowly, so every message is a batch whose
fields are parallel lists: field[i] speaks of item i. Messages are pickled once into `bytes` (`encode`), since Ray's own
serializer walks lists of strings in Python. Only object references and arrays travel beside the blob.

Each module is one conversation. Client to worker: `blocks` asks for blocks, for one of the `purposes`; `figures` brings counts
and leases, with `deliveries` that are counted once; `health` asks how a node is. Client to master: `namespace` asks what is at
paths, `load_jobs` asks for loads, `inventories` compares with the lake, and `watching` is what a page or a terminal shows.
Worker and master: `heartbeats`. `encoding` holds what all of them are made of.

Shapes: F files, B blocks asked for, G grants (segments handed out), E entries of a segment.
"""

from __future__ import annotations

from raycache.messages.blocks import BlockReply as BlockReply
from raycache.messages.blocks import BlockRequest as BlockRequest
from raycache.messages.blocks import BlockState as BlockState
from raycache.messages.blocks import FreeReply as FreeReply
from raycache.messages.blocks import Grant as Grant
from raycache.messages.blocks import GrantKind as GrantKind
from raycache.messages.blocks import ResidencyReply as ResidencyReply
from raycache.messages.blocks import Selector as Selector
from raycache.messages.deliveries import Deliveries as Deliveries
from raycache.messages.encoding import MASTER_NAME as MASTER_NAME
from raycache.messages.encoding import RAY_NAMESPACE as RAY_NAMESPACE
from raycache.messages.encoding import VERSION_ID_BYTES as VERSION_ID_BYTES
from raycache.messages.encoding import WORKER_NAME_PREFIX as WORKER_NAME_PREFIX
from raycache.messages.encoding import FileColumns as FileColumns
from raycache.messages.encoding import Hello as Hello
from raycache.messages.encoding import MountInfo as MountInfo
from raycache.messages.encoding import MountTable as MountTable
from raycache.messages.encoding import decode as decode
from raycache.messages.encoding import encode as encode
from raycache.messages.figures import LATENCY_BOUNDS_S as LATENCY_BOUNDS_S
from raycache.messages.figures import OTHER_READERS as OTHER_READERS
from raycache.messages.figures import Counts as Counts
from raycache.messages.figures import Delivery as Delivery
from raycache.messages.figures import MissReason as MissReason
from raycache.messages.figures import NodeFigures as NodeFigures
from raycache.messages.figures import ReadCounters as ReadCounters
from raycache.messages.figures import ReadTag as ReadTag
from raycache.messages.figures import StatusReply as StatusReply
from raycache.messages.figures import TouchRequest as TouchRequest
from raycache.messages.figures import WorkerStats as WorkerStats
from raycache.messages.figures import sum_counters as sum_counters
from raycache.messages.health import DiskCheck as DiskCheck
from raycache.messages.health import Health as Health
from raycache.messages.health import MountHealth as MountHealth
from raycache.messages.heartbeats import BlockReport as BlockReport
from raycache.messages.heartbeats import Heartbeat as Heartbeat
from raycache.messages.heartbeats import HeartbeatReply as HeartbeatReply
from raycache.messages.heartbeats import Shares as Shares
from raycache.messages.heartbeats import WrittenNews as WrittenNews
from raycache.messages.inventories import InventoryReply as InventoryReply
from raycache.messages.inventories import InventoryRequest as InventoryRequest
from raycache.messages.inventories import SyncReply as SyncReply
from raycache.messages.inventories import SyncRequest as SyncRequest
from raycache.messages.inventories import Tally as Tally
from raycache.messages.load_jobs import NO_ROOM as NO_ROOM
from raycache.messages.load_jobs import JobProgress as JobProgress
from raycache.messages.load_jobs import LoadRequest as LoadRequest
from raycache.messages.load_jobs import LoadSurvey as LoadSurvey
from raycache.messages.load_jobs import WantedFile as WantedFile
from raycache.messages.load_jobs import pack_files as pack_files
from raycache.messages.load_jobs import unpack_files as unpack_files
from raycache.messages.namespace import DirectRequest as DirectRequest
from raycache.messages.namespace import HoldersReply as HoldersReply
from raycache.messages.namespace import ListedRow as ListedRow
from raycache.messages.namespace import ListReply as ListReply
from raycache.messages.namespace import ListRequest as ListRequest
from raycache.messages.namespace import ResolveReply as ResolveReply
from raycache.messages.namespace import ResolveRequest as ResolveRequest
from raycache.messages.policies import PlanNews as PlanNews
from raycache.messages.policies import PlanReply as PlanReply
from raycache.messages.policies import PolicyChange as PolicyChange
from raycache.messages.policies import PolicyReport as PolicyReport
from raycache.messages.purposes import PREFETCHING as PREFETCHING
from raycache.messages.purposes import TERMS as TERMS
from raycache.messages.purposes import Claim as Claim
from raycache.messages.purposes import Need as Need
from raycache.messages.purposes import Purpose as Purpose
from raycache.messages.purposes import Terms as Terms
from raycache.messages.purposes import claim_column as claim_column
from raycache.messages.watching import FileHeat as FileHeat
from raycache.messages.watching import NodeOverview as NodeOverview
from raycache.messages.watching import OverviewReply as OverviewReply
