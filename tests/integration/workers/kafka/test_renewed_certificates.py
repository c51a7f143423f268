"""Certificates that are renewed while workers run, those of the authority included: no worker is started again."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from annals.workers.settings import Settings
from annals.workers.tools.broker import Broker
from certificates import tls_files
from grouped import Group

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.broker,
    # aiokafka closes a TLS transport and does not wait until it is closed: the loop may end before
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_worker_goes_on_with_a_new_authority_a_new_certificate_and_a_new_key(
    tmp_path: Path, cache_dir: Path | None
) -> None:
    files = tls_files(tmp_path)
    properties = {
        "listener.security.protocol.map": "CLIENT:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(files.broker),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files.authority),
        "listener.name.client.ssl.client.auth": "required",
    }
    with Broker(tmp_path / "broker", cache_dir=cache_dir, properties=properties) as broker:
        settings = Settings(
            bootstrap_servers=broker.bootstrap,
            security_protocol="SSL",
            ssl_cafile=files.authority,
            ssl_certfile=files.client,
            ssl_keyfile=files.key,
        )
        with closing(Group(settings, tmp_path / "group", partitions=1)) as group:
            worker = group.worker(
                "one",
                SECURITY_PROTOCOL="SSL",
                SSL_CAFILE=str(files.authority),
                SSL_CERTFILE=str(files.client),
                SSL_KEYFILE=str(files.key),
            ).until_ready()
            assert group.answers(2) == ["accepted"] * 2
            broker.stop()
            worker.until_told("no answer from the Kafka brokers")
            files.renew()
            broker.start()
            worker.until_ready()
            assert group.answers(2) == ["accepted"] * 2
            assert worker.end() == 0
