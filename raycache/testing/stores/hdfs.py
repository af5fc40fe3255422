"""A real NameNode and DataNode on this machine: Hadoop 2.7.3, as `hadoop_setup` installs it.

pyarrow reads HDFS through libhdfs and a JVM in the process, which find both by the environment: `environment` is what a
process needs before its first use of HDFS.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from raycache.errors import NotFoundError
from raycache.testing.stores.hadoop_setup import INSTALLED, java_home
from raycache.testing.stores.store_server import StoreServer

_NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
_DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
_EXPORTS = "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED"
_JAVA_OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", _EXPORTS)
_LOGGING = """log4j.rootLogger=INFO,A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%p %c{1} %m%n
"""


class HdfsServer(StoreServer):
    """Both as a context manager."""

    name = "HDFS"
    ports = 5

    @property
    def root_uri(self) -> str:
        """The authority."""
        return f"hdfs://127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        """What a process needs to reach HDFS by pyarrow."""
        return {
            "ARROW_LIBHDFS_DIR": str(INSTALLED.absolute()),
            "CLASSPATH": self._class_path(),
            "JAVA_HOME": str(java_home()),
            "LIBHDFS_OPTS": f"-Xmx256m {_EXPORTS}",
        }

    def _commands(self, directory: Path) -> list[list[str]]:
        home = java_home()
        if home is None or not (INSTALLED / "libhdfs.so").exists():
            raise NotFoundError("HDFS is missing; install it by python -m raycache.testing.stores.hadoop_setup")
        self._configure(directory)
        java = [str(home / "bin/java"), *_JAVA_OPTIONS, "-cp", self._class_path()]
        formatting = [*java, _NAMENODE, "-format", "-force", "-nonInteractive"]
        subprocess.run(formatting, check=True, capture_output=True, timeout=self.start_timeout_s)
        return [[*java, _NAMENODE], [*java, _DATANODE]]

    def _answers(self) -> bool:
        datanode = self._children[1].log_path
        return datanode.exists() and "successfully registered" in datanode.read_text(errors="replace")

    def _class_path(self) -> str:
        assert self._directory is not None
        jars = sorted((INSTALLED / "jars").absolute().glob("*.jar"))
        return os.pathsep.join([str(self._directory / "conf"), str(self._directory), *map(str, jars)])

    def _configure(self, directory: Path) -> None:
        for name in ("conf", "webapps/hdfs", "webapps/datanode"):
            (directory / name).mkdir(parents=True)
        at = [f"127.0.0.1:{self._port + number}" for number in range(5)]
        settings = {
            "fs.defaultFS": f"hdfs://{at[0]}",
            "dfs.namenode.name.dir": f"file://{directory}/name",
            "dfs.datanode.data.dir": f"file://{directory}/data",
            "dfs.replication": "1",
            "dfs.webhdfs.enabled": "false",
            "dfs.permissions.enabled": "false",
            "dfs.namenode.http-address": at[1],
            "dfs.datanode.address": at[2],
            "dfs.datanode.ipc.address": at[3],
            "dfs.datanode.http.address": at[4],
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.namenode.safemode.extension": "0",
        }
        rows = "".join(
            f"<property><name>{name}</name><value>{text}</value></property>" for name, text in settings.items()
        )
        for name in ("core-site.xml", "hdfs-site.xml"):
            (directory / "conf" / name).write_text(f"<configuration>{rows}</configuration>")
        (directory / "conf/log4j.properties").write_text(_LOGGING)
