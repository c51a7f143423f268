"""Webhooks without a network: what answers mean, the circuit, the binding, signatures, and where a URL may lead."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from annals.agents.publishing.records import Outgoing
from annals.agents.publishing.webhooks import addresses
from annals.agents.publishing.webhooks.binding import batched, binary
from annals.agents.publishing.webhooks.circuit import ASKED_TO_WAIT, CIRCUIT_OPEN, Circuit, endpoint_of
from annals.agents.publishing.webhooks.signatures import parse_secret, signature_headers
from annals.agents.publishing.webhooks.verdicts import Verdict, of_status, put_off
from annals.schemas.delivery import WAITING, Row
from annals.schemas.webhook_url import url_problem

NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)
SOON = "Sun, 29 Nov 2026 12:00:07 GMT"
HEADERS = [
    ("content-type", b"application/json"),
    ("ce_specversion", b"1.0"),
    ("ce_id", b"bafy1"),
    ("ce_subject", 'Ä "1" 50%'.encode()),
    ("traceparent", b"00-1-2-01"),
    ("command-id", b"not for strangers"),
]


def failure(reason):
    return Verdict("nack", reason, None, counts=True, is_failure=True, pauses=False, is_made=True)


@pytest.mark.parametrize(
    ("status", "retry_after", "verdict"),
    [
        (200, None, Verdict("ack")),
        (204, None, Verdict("ack")),
        (299, "7", Verdict("ack")),
        (300, None, failure("http_300")),
        (301, None, failure("http_301")),
        (399, None, failure("http_399")),
        (400, None, Verdict("park", "http_400")),
        (404, "7", Verdict("park", "http_404")),
        (410, None, Verdict("nack", "http_410", 5_000, counts=False, pauses=True)),
        (429, "7", Verdict("nack", "http_429", 7_000, counts=False)),
        (429, None, failure("http_429")),
        (429, "soon", failure("http_429")),
        (499, None, Verdict("park", "http_499")),
        (500, "7", failure("http_500")),
        (503, SOON, Verdict("nack", "http_503", 7_000, counts=False)),
        (503, "Sun, 29 Nov 2026 11:00:00 GMT", Verdict("nack", "http_503", 1_000, counts=False)),
        (503, "Sun, 29 Nov 2026 13:00:07 +0100", Verdict("nack", "http_503", 7_000, counts=False)),
        (503, "Sun, 29 Nov 2026 12:00:07 -0000", Verdict("nack", "http_503", 7_000, counts=False)),
        (503, "0", Verdict("nack", "http_503", 1_000, counts=False)),
        (503, "", failure("http_503")),
        (503, "Sun, 29 Nov 2026 11:00:00 -9999", failure("http_503")),
        (503, "0, 7", failure("http_503")),
        (503, "9" * 5_000, Verdict("nack", "http_503", 3_600_000, counts=False)),
        (503, "Sun, 29 Nov 9999 11:00:00 GMT", Verdict("nack", "http_503", 3_600_000, counts=False)),
        (503, "-1", failure("http_503")),
        (503, "²", failure("http_503")),
        (503, None, failure("http_503")),
        (599, None, failure("http_599")),
    ],
)
def test_what_a_status_means(status, retry_after, verdict):
    assert of_status(status, retry_after, NOW) == verdict


def test_an_endpoint_is_to_blame_is_gone_or_asks_to_wait_where_it_says_so_alone():
    answers = {status: of_status(status, "7", NOW) for status in (200, 404, 410, 429, 500, 503)}
    assert [status for status, verdict in answers.items() if verdict.is_failure] == [500]
    assert [status for status, verdict in answers.items() if verdict.pauses] == [410]
    assert [status for status, verdict in answers.items() if verdict.is_asked] == [429, 503]
    assert not of_status(503, None, NOW).is_asked
    unsent = put_off(CIRCUIT_OPEN, 5)
    assert unsent == Verdict("nack", CIRCUIT_OPEN, 5, counts=False, is_failure=False, pauses=False, is_made=False)
    assert not unsent.is_asked


def opened(circuit, now=0):
    for _ in range(9):
        assert circuit.wait_ms(now) == 0
        assert not circuit.failed(now)
    assert circuit.failed(now)
    return circuit


def test_a_circuit_opens_after_failures_in_a_row_and_probes_with_one_event():
    circuit = opened(Circuit())
    assert circuit.is_open
    assert circuit.wait_ms(400) == 600
    assert not circuit.failed(400), "one that was sent before it opened"
    assert circuit.wait_ms(1_000) == 0, "the probe"
    assert circuit.wait_ms(1_000) == 1_000, "the others wait for it"
    assert not circuit.failed(1_000)
    assert circuit.wait_ms(1_001) == 1_999, "twice as long"
    assert circuit.wait_ms(3_001) == 0
    circuit.answered()
    assert not circuit.is_open
    assert [circuit.wait_ms(3_000) for _ in range(3)] == [0, 0, 0]


def test_an_answer_in_between_keeps_a_circuit_closed():
    circuit = Circuit()
    for _ in range(5):
        for _ in range(9):
            circuit.failed(0)
        circuit.answered()
    assert not circuit.is_open


def test_a_probe_that_was_not_sent_lets_another_one_go():
    circuit = opened(Circuit())
    assert circuit.wait_ms(1_000) == 0
    circuit.dropped()
    assert circuit.wait_ms(1_000) == 0


def test_an_endpoint_that_asks_for_time_gets_it_and_is_not_taken_as_down():
    circuit = Circuit()
    circuit.asked(1_000, 5_000)
    circuit.asked(1_001, 2_000)  # of an event that was posted before the other one was answered
    assert circuit.wait_ms(2_000) == 4_000
    assert not circuit.is_open
    assert circuit.wait_ms(6_000) == 0


def test_a_probe_that_is_asked_to_wait_lets_another_one_go_after_that():
    circuit = opened(Circuit())
    assert circuit.wait_ms(1_000) == 0
    circuit.asked(1_000, 5_000)
    assert circuit.wait_ms(1_000) == 5_000
    assert circuit.wait_ms(6_000) == 0, "another probe"
    assert circuit.wait_ms(6_000) > 0, "one"


def test_a_circuit_stops_growing():
    circuit, now = opened(Circuit()), 0
    for _ in range(20):
        now += circuit.wait_ms(now)
        assert circuit.wait_ms(now) == 0
        circuit.failed(now)
    assert circuit.wait_ms(now) == 60_000


def row(due, reason=CIRCUIT_OPEN, state=WAITING):
    return Row("person", "a", 1, "bafy", "Happened", 0, ordered=True, state=state, due=due, at=1_000, reason=reason)


def test_a_circuit_is_open_after_a_restart_as_its_rows_say():
    circuit = Circuit()
    others = [row(60_000, "http_503"), row(60_000, "broken_off"), row(60_000, state="in_flight")]
    circuit.restore([row(9_000), row(5_000), *others])
    assert circuit.is_open
    assert circuit.wait_ms(2_000) == 7_000
    assert circuit.wait_ms(9_000) == 0
    assert circuit.wait_ms(9_000) > 0, "one probe"
    circuit.failed(9_000)
    assert circuit.wait_ms(9_000) == 16_000
    closed = Circuit()
    closed.restore([row(60_000, "http_503")])
    assert closed.wait_ms(0) == 0


def test_what_an_endpoint_asked_for_holds_after_a_restart_as_its_rows_say():
    circuit = Circuit()
    circuit.restore([row(5_000, ASKED_TO_WAIT), row(9_000, ASKED_TO_WAIT), row(60_000, ASKED_TO_WAIT, "parked")])
    assert not circuit.is_open
    assert circuit.wait_ms(2_000) == 7_000
    assert circuit.wait_ms(9_000) == 0


def test_an_endpoint_is_called_what_rows_of_before_call_it():
    """Goes red when what rows wait for is taken for another endpoint's: they would be posted to one that is down."""
    assert endpoint_of("https://x.example/?token=1") == "e79eaa4186bd9b83"


def test_an_event_is_posted_in_the_binary_mode():
    request = binary(Outgoing(b"a", b'{"name":"Ada"}', HEADERS))
    assert request.webhook_id == "bafy1"
    assert request.body == b'{"name":"Ada"}'
    assert request.headers == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "bafy1",
        "ce-subject": "%C3%84%20%221%22%2050%25",
        "traceparent": "00-1-2-01",
    }


def test_no_value_can_begin_another_header():
    request = binary(Outgoing(b"a", b"", [("ce_id", b"1\r\nx: y"), ("tracestate", b"a\r\nb: c")]))
    assert not any(set(value) & {"\r", "\n"} for value in request.headers.values())


def test_several_events_are_posted_in_an_array():
    block = [("content-type", b"application/vnd.ipld.dag-cbor"), ("ce_id", b"bafy2")]
    request = batched([Outgoing(b"a", b'{"name":"Ada"}', HEADERS), Outgoing(b"a", b"\xa0", block)])
    assert request.headers == {"content-type": "application/cloudevents-batch+json"}
    first, second = json.loads(request.body)
    assert (first["id"], first["subject"], first["data"]) == ("bafy1", 'Ä "1" 50%', {"name": "Ada"})
    assert second == {"datacontenttype": "application/vnd.ipld.dag-cbor", "id": "bafy2", "data_base64": "oA=="}
    alone = batched([Outgoing(b"a", b"{}", HEADERS)])
    assert alone.webhook_id == "bafy1"
    assert request.webhook_id not in {"bafy1", "bafy2"}


def test_signatures_are_those_of_standard_webhooks():
    """The example of the specification's reference implementations."""
    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    body, other = b'{"test": 2432232314}', parse_secret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    found = signature_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [key, other])
    assert found["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert found["webhook-timestamp"] == "1614265330"
    first, second = found["webhook-signature"].split(" ")
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert second.startswith("v1,")


def test_a_secret_has_24_to_64_bytes():
    for size in (24, 64):
        assert parse_secret(b64encode(bytes(size)).decode()) == bytes(size)
    for size in (23, 65):
        with pytest.raises(ValueError, match="24 to 64 bytes"):
            parse_secret(b64encode(bytes(size)).decode())


@pytest.mark.parametrize("text", ["", "whsec_", "short", "whsec_c2hvcnQ=", "A" * 100, "not base64!" * 4, "Ä" * 32])
def test_what_is_no_secret_is_refused_without_being_shown(text):
    with pytest.raises(ValueError, match="must be") as refused:
        parse_secret(text)
    assert not text or text not in str(refused.value)


REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "2002:7f00:1::",
    "2001:0:1::1",
    "fec0::1",
    "nothing",
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address):
    assert addresses.refusal(address, ()) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_not(address):
    assert addresses.refusal(address, ()) is None


def test_a_range_permits_just_its_addresses():
    allowed = [ip_network("127.0.0.0/8"), ip_network("fd00::/8")]
    assert addresses.refusal("127.0.0.1", allowed) is None
    assert addresses.refusal("fd00::1", allowed) is None
    assert addresses.refusal("::ffff:127.0.0.1", allowed) is not None
    assert addresses.refusal("10.0.0.1", allowed) is not None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/", "https:///x", "https://", "//x", "x", "https://u@x/", "https://u:p@x/", "https://x/#f", "https://x#",
        "https://x:0/", "https://x:65536/", "https://x:/", "https://x:²/", "https://x y/", "https://ä/", "https://x\\@y/",
        "https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://x.0x7f/",
        "https://[::1", "https://[:::]/",
        "https://[fe80::1%25eth0]/", "https://x..y/", "https://x/\n", "https://x/ä", "HTTPS//x",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_webhook(url):
    assert url_problem(url) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://x/",
        "https://x",
        "http://x.example:8080/a?b=c",
        "https://[2a00::1]:443/",
        "https://8.8.8.8/",
        "https://x:1/",
        "https://x:65535/",
    ],
)
def test_what_is_one(url):
    assert url_problem(url) is None


ALLOWED = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    ("url", "allowed", "is_fine"),
    [
        ("https://x/", (), True),
        ("http://x/", (), False),
        ("http://x/", ALLOWED, True),
        ("https://127.0.0.1/", (), False),
        ("http://127.0.0.1:8080/", ALLOWED, True),
        ("http://8.8.8.8/", ALLOWED, False),
        ("https://8.8.8.8/", (), True),
        ("https://[::1]/", ALLOWED, False),
        ("https://localhost/", (), False),
        ("https://a.localhost./", (), False),
        ("http://localhost/", ALLOWED, True),
    ],
)
def test_a_url_is_looked_at_as_far_as_that_can_be_told(url, allowed, is_fine):
    assert (addresses.url_problem(url, allowed) is None) == is_fine
