"""A certificate for 127.0.0.1 and localhost, made by the openssl program for the duration of one test."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


def make(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The certificate's file and a server's context with it. Without openssl: skips at home, fails in CI."""
    if shutil.which("openssl") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no openssl program")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    wanted = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    named = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", certificate, "-keyout", key]
    subprocess.run(["openssl", "req", *wanted.split(), *named], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
