"""Debian's XRootD behind its HTTPS door, started for a test."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from deploy.local.processes import free_ports, wait_until

if TYPE_CHECKING:
    from types import TracebackType

_CONFIG = """\
all.export /data
oss.localroot {folder}/store
all.adminpath {folder}/adm
all.pidpath {folder}/adm
all.sitename TEST
xrd.port {xrd_port}
xrd.tls {folder}/host.pem {folder}/host.key
xrd.tlsca certdir {folder}/certs
xrd.protocol http:{port} libXrdHttp.so
http.exthandler xrdtpc libXrdHttpTPC.so
xrootd.chksum max 2 adler32 md5 crc32
"""
_CERTIFICATES = """\
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /O=test/CN=ca -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /O=test/CN=localhost -keyout host.key -out host.csr
echo subjectAltName=DNS:localhost,IP:127.0.0.1 > names
openssl x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names \\
  -out host.pem
cp ca.pem certs/$(openssl x509 -hash -noout -in ca.pem).0
chmod 600 host.key
"""


class XRootD:
    """A running XRootD. It refuses to run as root, so its folder is where others may go."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xrootd-"))
        self.ca = self.folder / "ca.pem"
        self.port, self._xrd_port = free_ports(2)
        self.url = f"https://localhost:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("store/data", "adm", "certs"):
            (self.folder / name).mkdir(parents=True)
        subprocess.run(
            ["bash", "-ec", _CERTIFICATES], cwd=self.folder, check=True, capture_output=True
        )
        config = self.folder / "xrootd.cfg"
        config.write_text(
            _CONFIG.format(folder=self.folder, port=self.port, xrd_port=self._xrd_port)
        )
        as_user: list[str] = []
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "xrootd:", str(self.folder)], check=True)
            self.folder.chmod(0o755)
            as_user = ["-R", "xrootd"]
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                ["xrootd", *as_user, "-n", "test", "-c", str(config)],
                cwd=self.folder, stdout=output, stderr=output,
            )  # fmt: skip
        ready = wait_until(self._answers, timeout_s=30)
        assert ready, (self.folder / "output").read_text()
        return self

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/data/", verify=self.tls()).status_code < 500
        except httpx.HTTPError:
            return False

    def tls(self) -> ssl.SSLContext:
        """Return what trusts its certificate."""
        return ssl.create_default_context(cafile=str(self.ca))

    def file(self, name: str) -> Path:
        """Return where it keeps a file of /data."""
        return self.folder / "store" / "data" / name

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
        shutil.rmtree(self.folder)
