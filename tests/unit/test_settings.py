"""Settings from the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from facequality import settings
from facequality.address import split_address


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("FACEQUALITY_", "TENCENTCLOUD_")):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> settings.Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return settings.load(serving=True)


def test_the_defaults_are_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing set: the embedded engine on the documented ports."""
    loaded = load(monkeypatch)
    assert loaded.detector == "embedded"
    assert (loaded.grpc_address, loaded.health_address, loaded.metrics_address) == ("[::]:50051", "", "[::]:9090")
    assert (loaded.deadline_seconds, loaded.drain_seconds, loaded.grace_seconds) == (10, 5, 20)
    assert loaded.reflection is False
    assert loaded.log_level == "info"


def test_every_mistake_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run shows all that is to mend."""
    with pytest.raises(settings.SettingsError) as caught:
        load(
            monkeypatch,
            FACEQUALITY_DETECTOR="cloud",
            FACEQUALITY_GRPC_ADDRESS="50051",
            FACEQUALITY_METRICS_ADDRESS="::1:9090",
            FACEQUALITY_DEADLINE_SECONDS="0",
            FACEQUALITY_REFLECTION="maybe",
            FACEQUALITY_LOG_LEVEL="loud",
            FACEQUALITY_DEFAULT_POLICY="nope",
        )
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "FACEQUALITY_DEFAULT_POLICY",
        "FACEQUALITY_DETECTOR",
        "FACEQUALITY_GRPC_ADDRESS",
        "FACEQUALITY_METRICS_ADDRESS",
        "FACEQUALITY_DEADLINE_SECONDS",
        "FACEQUALITY_REFLECTION",
        "FACEQUALITY_LOG_LEVEL",
    ]
    assert "FACEQUALITY_REFLECTION: must be true or false" in lines


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("REFLECTION", "maybe", "must be true or false"),
        ("MAX_IN_FLIGHT", "many", "must be a whole number"),
        ("MAX_IN_FLIGHT_MIB", "20.5", "must be a whole number"),
        ("QUEUE_SECONDS", "soon", "must be a number"),
        ("QUEUE_SECONDS", "0", "must be greater than 0"),
        ("DRAIN_SECONDS", "601", "must be less than or equal to 600"),
        ("LOG_LEVEL", "loud", "must be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_mistake_says_what_a_value_must_be(monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str) -> None:
    """In one manner, whoever finds it."""
    with pytest.raises(settings.SettingsError) as caught:
        load(monkeypatch, **{f"FACEQUALITY_{name}": value})
    assert str(caught.value) == f"FACEQUALITY_{name}: {text}"


def test_a_wrong_value_hides_neither_missing_keys_nor_broken_policies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each would stop the next start."""
    broken = tmp_path / "policies.yaml"
    broken.write_text("policies: {kiosk: {extends: enrol}}", encoding="utf-8")
    with pytest.raises(settings.SettingsError) as caught:
        load(
            monkeypatch,
            FACEQUALITY_DETECTOR="tencentcloud",
            FACEQUALITY_DEADLINE_SECONDS="-1",
            FACEQUALITY_POLICY_FILE=str(broken),
        )
    text = str(caught.value)
    names = ("FACEQUALITY_DEADLINE_SECONDS", "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "did you mean enroll")
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize("name", ["TENCENTCLOUD_SECRET_ID", "FACEQUALITY_TENCENTCLOUD_REGION"])
def test_cloud_settings_without_a_detector_are_ambiguous(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nobody should believe that the cloud answers while the local engine does."""
    with pytest.raises(settings.SettingsError, match=f"{name} is; say which detector is meant"):
        load(monkeypatch, **{name: "value"})
    assert load(monkeypatch, FACEQUALITY_DETECTOR="embedded").detector == "embedded"


def test_near_misses_are_pointed_at() -> None:
    """Kubernetes' own variables are not."""
    environ = {
        "FACEQUALITY_SERVICE_HOST": "10.0.0.1",
        "FACEQUALITY_SERVICE_PORT_GRPC": "1",
        "FACEQUALITY_PORT": "tcp://10.0.0.1:1",
    }
    environ |= {"FACEQUALITY_PORT_1_TCP_ADDR": "10.0.0.1", "TENCENTCLOUD_PROFILE": "default"}
    environ |= {"FACEQUALITY_LOGLEVEL": "debug", "TENCENTCLOUD_SECRETID": "AKID", "FACEQUALITY_POLICY": "strict"}
    environ |= {"FACEQUALITY_TIMEOUT": "3", "FACEQUALITY_MYSQL_PORT": "3306"}
    assert settings.misspelt(environ) == [
        "FACEQUALITY_LOGLEVEL is not a setting; did you mean FACEQUALITY_LOG_LEVEL?",
        "FACEQUALITY_MYSQL_PORT is not a setting",
        "FACEQUALITY_POLICY is not a setting; did you mean FACEQUALITY_POLICY_FILE?",
        "FACEQUALITY_TIMEOUT is not a setting",
        "TENCENTCLOUD_SECRETID is not a setting; did you mean TENCENTCLOUD_SECRET_ID?",
    ]


def test_near_misses_are_sought_where_settings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any case of letters, and not among empty values."""
    monkeypatch.setenv("facequality_polcy_file", "/x")
    monkeypatch.setenv("FACEQUALITY_FOO", "")
    assert settings.misspelt(settings.environment()) == [
        "FACEQUALITY_POLCY_FILE is not a setting; did you mean FACEQUALITY_POLICY_FILE?"
    ]


def test_a_near_miss_stands_beside_what_it_made_go_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one look at the text is enough."""
    with pytest.raises(settings.SettingsError) as caught:
        load(monkeypatch, FACEQUALITY_DETECTOR="tencentcloud", TENCENTCLOUD_SECRETID="AKID", TENCENTCLOUD_SECRET_KEY="key")
    missing, hint = str(caught.value).splitlines()
    assert missing.startswith("TENCENTCLOUD_SECRET_ID: is missing")
    assert hint.endswith("did you mean TENCENTCLOUD_SECRET_ID?")


def test_the_help_lists_every_setting_with_the_default_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set as shown, they change nothing."""
    defaults = load(monkeypatch)
    shown = dict(line.split("=", 1) for line in settings.describe().splitlines() if not line.startswith(" "))
    assert list(shown) == settings.variables()
    meanings = [line.strip() for line in settings.describe().splitlines() if line.startswith(" ")]
    ranges = {name: meaning.rpartition(" (")[2] for name, meaning in zip(shown, meanings, strict=True) if meaning.endswith(")")}
    assert ranges["FACEQUALITY_QUEUE_SECONDS"] == "above 0, up to 60)"
    assert ranges["FACEQUALITY_CACHE_ENTRIES"] == "1 to 10,000,000)"
    assert ranges["FACEQUALITY_REFLECTION"] == "true or false)"
    assert ranges["FACEQUALITY_TENCENTCLOUD_LANGUAGE"] == "en-US or zh-CN)"
    assert load(monkeypatch, **shown) == defaults


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::]:9090", ("::", 9090)), ("gate.example:65535", ("gate.example", 65535))],
)
def test_addresses_are_split(address: str, expected: tuple[str, int]) -> None:
    """IPv6 in brackets."""
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", ":", "host", "host:", ":1", "::1:1", "host:65536", "a b:1", "[::1:1"])
def test_other_addresses_are_refused(address: str) -> None:
    """In words."""
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        split_address(address)


def test_a_policy_file_must_be_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets one believes that it is applied."""
    with pytest.raises(settings.SettingsError, match=r"FACEQUALITY_POLICY_FILE: there is no /nowhere/policies\.yaml"):
        load(monkeypatch, FACEQUALITY_POLICY_FILE="/nowhere/policies.yaml")


def test_only_a_server_must_be_unambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at policies needs no detector."""
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "x")
    assert settings.load().detector == "embedded"


def test_missing_cloud_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both, with the way to give them as files."""
    with pytest.raises(settings.SettingsError) as caught:
        load(monkeypatch, FACEQUALITY_DETECTOR="tencentcloud")
    assert str(caught.value).splitlines() == [
        f"{name}: is missing; the tencentcloud detector needs it, or {name}_FILE"
        for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN_FILE"),
        ("TENCENTCLOUD_SECRET_ID_FILE", "TENCENTCLOUD_SECRET_KEY_FILE", "TENCENTCLOUD_TOKEN"),
        ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY_FILE"),
    ],
)
def test_credentials_from_two_kinds_of_source_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """One of them would be lost without a word."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    values = {name: str(secret) if name.endswith("_FILE") else "x" for name in names}
    with pytest.raises(settings.SettingsError, match="all as values or all as files"):
        load(monkeypatch, FACEQUALITY_DETECTOR="tencentcloud", **values)


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a value and as a file: one of them would be lost."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    given = {"TENCENTCLOUD_SECRET_ID": "x", "TENCENTCLOUD_SECRET_ID_FILE": str(secret), "TENCENTCLOUD_SECRET_KEY": "x"}
    with pytest.raises(settings.SettingsError) as caught:
        load(monkeypatch, FACEQUALITY_DETECTOR="tencentcloud", **given)
    text = "TENCENTCLOUD_SECRET_ID: is set, and so is TENCENTCLOUD_SECRET_ID_FILE; say which is meant"
    assert str(caught.value).splitlines() == [text]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FACEQUALITY_MAX_IN_FLIGHT", "0"),
        ("FACEQUALITY_MAX_IN_FLIGHT_MIB", "15"),
        ("FACEQUALITY_QUEUE_SECONDS", "nan"),
        ("FACEQUALITY_TENCENTCLOUD_CONNECTIONS", "0"),
        ("FACEQUALITY_TENCENTCLOUD_REGION", "ap guangzhou\r\nX-Other: 1"),
        ("FACEQUALITY_TENCENTCLOUD_QPS", "-1"),
        ("FACEQUALITY_POLICY_FILE", "policies: {}\n" * 400),
    ],
)
def test_a_value_that_would_stop_the_gate_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A gate that takes no call, or a header in a header."""
    with pytest.raises(settings.SettingsError, match=rf"(?m)^{name}: "):
        load(monkeypatch, **{name: value})


def test_values_are_read_kindly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level in capitals; an endpoint with white space around it and a slash behind."""
    loaded = load(monkeypatch, FACEQUALITY_LOG_LEVEL="INFO", FACEQUALITY_TENCENTCLOUD_ENDPOINT=" https://h.example/ ",
                  FACEQUALITY_DETECTOR="embedded")  # fmt: skip
    assert (loaded.log_level, loaded.tencentcloud_endpoint) == ("info", "https://h.example")


@pytest.mark.parametrize("hosts", ["https://x.com", "*.x.com", "x.com.", "a b.com"])
def test_hosts_that_could_never_match_are_refused(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    """An allow-list that allows nothing is a slip of the pen."""
    with pytest.raises(settings.SettingsError, match="FACEQUALITY_PHOTO_URI_HOSTS: must be host names"):
        load(monkeypatch, FACEQUALITY_PHOTO_URI_HOSTS=hosts)
    assert load(monkeypatch, FACEQUALITY_PHOTO_URI_HOSTS=" photos.x.com, .x.org ").photo_uri_hosts


def test_an_unsigned_payload_needs_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would protect the photo."""
    key = {"TENCENTCLOUD_SECRET_ID": "x", "TENCENTCLOUD_SECRET_KEY": "y", "FACEQUALITY_DETECTOR": "tencentcloud"}
    unsigned = {"FACEQUALITY_TENCENTCLOUD_UNSIGNED_PAYLOAD": "1", **key}
    with pytest.raises(settings.SettingsError, match="over http nothing would protect the photo"):
        load(monkeypatch, FACEQUALITY_TENCENTCLOUD_ENDPOINT="http://vendor.example", **unsigned)
    load(monkeypatch, FACEQUALITY_TENCENTCLOUD_ENDPOINT="https://vendor.example", **unsigned)


@pytest.mark.parametrize("value", ["/etc", "/nowhere/ca.pem"])
def test_a_certificate_file_must_be_one(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Not a directory, not missing."""
    with pytest.raises(settings.SettingsError, match="FACEQUALITY_TENCENTCLOUD_CA_FILE: is not a file"):
        load(monkeypatch, FACEQUALITY_TENCENTCLOUD_CA_FILE=value)


def test_secrets_stay_out_of_reprs_and_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values given as values and in a proxy's URL."""
    loaded = load(
        monkeypatch,
        FACEQUALITY_DETECTOR="tencentcloud",
        TENCENTCLOUD_SECRET_ID="the-id",
        TENCENTCLOUD_SECRET_KEY="the-key",
        TENCENTCLOUD_TOKEN="the-token",
        FACEQUALITY_TENCENTCLOUD_PROXY="http://user:hunter2@proxy.example:3128",
    )
    assert not any(secret in repr(loaded) for secret in ("the-id", "the-key", "the-token", "hunter2"))
    with pytest.raises(settings.SettingsError) as caught:
        load(monkeypatch, FACEQUALITY_TENCENTCLOUD_PROXY="ftp://user:hunter2@proxy.example")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["http://us er:p@proxy.example:3128", "http://proxy.example:3128\n", "http://pro xy"])
def test_a_proxy_that_no_client_takes_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Not by a traceback at the first call."""
    with pytest.raises(settings.SettingsError, match="FACEQUALITY_TENCENTCLOUD_PROXY: must be the URL of an HTTP proxy"):
        load(monkeypatch, FACEQUALITY_TENCENTCLOUD_PROXY=proxy)


@pytest.mark.parametrize("hosts", ["minio.storage.svc", "a.example.com,.svc.internal", "photos.LOCAL"])
def test_hosts_that_no_photo_may_come_from_are_not_offered(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    """Or every call would find out."""
    with pytest.raises(settings.SettingsError, match="photos are never taken from private hosts"):
        load(monkeypatch, FACEQUALITY_PHOTO_URI_HOSTS=hosts)


@pytest.mark.parametrize(
    "endpoint",
    [
        "iai.tencentcloudapi.com",
        "ftp://x",
        "https://",
        "https://h/path",
        "https://u:p@h",
        "https://h:99999",
        "https://exa mple.com",
        "https://exa\nmple.com",
        "https://h:",
    ],
)
def test_a_wrong_endpoint_is_refused(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Scheme and host, nothing else."""
    with pytest.raises(settings.SettingsError, match="FACEQUALITY_TENCENTCLOUD_ENDPOINT: must be a base URL"):
        load(monkeypatch, FACEQUALITY_TENCENTCLOUD_ENDPOINT=endpoint)


def test_the_readme_lists_every_setting_with_its_default() -> None:
    """Nothing more and nothing less."""
    text = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    listed = {name for name in re.findall(r"`((?:FACEQUALITY|TENCENTCLOUD)_[A-Z_]+)`", text) if not name.endswith("_")}
    assert listed == set(settings.variables())
    shown = {
        name: row[2]
        for line in text.splitlines()
        if len(row := line.split(" | ")) == 3
        for name in re.findall(r"`([A-Z_]+)`", row[0])
    }
    for line in settings.describe().splitlines():
        name, _, default = line.partition("=")
        if not line.startswith(" ") and default:
            assert default in shown[name], name


def test_an_endpoint_is_scheme_and_host_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows would be sent, but not signed."""
    loaded = load(monkeypatch, FACEQUALITY_DETECTOR="embedded", FACEQUALITY_TENCENTCLOUD_ENDPOINT="HTTPS://h.example:8443/?#")
    assert loaded.tencentcloud_endpoint == "https://h.example:8443"


@pytest.mark.parametrize("name", ["SECRET_ID", "SECRET_KEY", "TOKEN", "SECRET_ID_FILE", "SECRET_KEY_FILE", "TOKEN_FILE"])
def test_the_vendors_variables_have_their_own_names_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Under another one, a key would replace the one that was meant."""
    file = tmp_path / "key"
    file.write_text("other")
    keys = {"TENCENTCLOUD_SECRET_ID": "x", "TENCENTCLOUD_SECRET_KEY": "y", "FACEQUALITY_DETECTOR": "tencentcloud"}
    expected = load(monkeypatch, **keys)
    assert load(monkeypatch, **{f"FACEQUALITY_{name}": str(file)}) == expected


def test_a_secret_where_a_file_is_meant_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is: no file can have such a name."""
    token = "hunter2" * 100
    with pytest.raises(settings.SettingsError) as caught:
        load(monkeypatch, FACEQUALITY_DETECTOR="embedded", TENCENTCLOUD_TOKEN_FILE=token)
    assert str(caught.value) == "TENCENTCLOUD_TOKEN_FILE: is not a file"
