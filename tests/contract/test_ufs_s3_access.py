"""How S3 is reached: proxies, authorities, credentials and who pays, the same for both clients and every request."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from raycache.errors import DeniedError, InvalidRequestError
from raycache.types import FileVersion
from raycache.ufs.s3.multipart import S3Sizes
from raycache.ufs.s3.storage import S3Storage
from tests.support.certificates import Certificates, make_certificates
from tests.support.exact_s3 import ACCESS_KEY, SECRET_KEY, ExactS3, Manners, exact_s3
from tests.support.s3_wire import ODD, PLAIN, Wire

_VARIABLES = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def use_everything(storage: S3Storage, lake: ExactS3) -> None:
    """Every kind of request, by both clients; whatever one of them is refused fails."""
    for key in (ODD, PLAIN):
        info = storage.head(key)
        version = FileVersion(f"s3://exact/{key}", info.size_bytes, info.etag, info.mtime_ns)
        assert bytes(storage.read(key, 2, 3, version)) == b"234"
        storage.copy(key, f"{key}-copy")
        storage.put(f"{key}-put", b"0123456789" if key == ODD else b"01")  # in parts, and whole
    assert len(storage.list("").objects) == 6
    storage.delete([f"{key}-{what}" for key in (ODD, PLAIN) for what in ("copy", "put")])
    storage.delete(["bell\x07"])
    assert len(lake.lake.list("").objects) == 2


class TestProxies:
    def test_all_goes_through_it(self, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is said to go through a proxy reaches a host that only the proxy knows."""
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            with monkeypatch.context() as patch:
                patch.setenv(name, wire.server.endpoint_url)
                wire.reset()
                storage = S3Storage(
                    "s3://exact", wire.server.options(endpoint_url="http://s3.invalid"), sizes=S3Sizes(4, 1)
                )
                use_everything(storage, wire.server)
                assert wire.server.proxied == len(wire.server.seen)

    @pytest.mark.parametrize("excluded", ["127.0.0.1", "127.0.0.0/8", "*", "127.0.0.1:{port}"])
    def test_nothing_goes_through_it(self, wire: Wire, excluded: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is excluded from the proxy goes straight, however that is written."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # where nobody listens
        monkeypatch.setenv("NO_PROXY", excluded.format(port=wire.server.endpoint_url.rpartition(":")[2]))
        use_everything(S3Storage("s3://exact", wire.server.options(retries_max=0), sizes=S3Sizes(4, 1)), wire.server)
        assert wire.server.proxied == 0

    def test_its_password_is_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that cannot be reached is an error without what stands in its URL."""
        monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2@127.0.0.1:9")
        options = {
            "endpoint_url": "http://s3.invalid",
            "access_key_id": "a",
            "secret_access_key": "b",
            "retries_max": 0,
        }
        storage = S3Storage("s3://exact", options)
        for attempt in (lambda: storage.list(""), lambda: storage.read(PLAIN, 0, 1)):
            with pytest.raises(ConnectionError) as caught:
                attempt()
            assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class TestAuthorities:
    @pytest.mark.parametrize(
        "name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "ca_file", "aws_ca_bundle"]
    )
    def test_one_file_for_both_clients(
        self, certificates: Certificates, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An authority that is the second in its file, named in any way, vouches for all requests."""
        (tmp_path / "other").mkdir()
        other = make_certificates(tmp_path / "other").authority_file.read_text()
        bundle = tmp_path / "bundle.pem"
        bundle.write_text(other + certificates.authority_file.read_text())
        options = {name: str(bundle)} if name.islower() else {}
        if not options:
            monkeypatch.setenv(name, str(bundle))
        with exact_s3(certificates.server) as server:
            wire = Wire(server, **options)
            wire.reset()
            use_everything(S3Storage("s3://exact", server.options(**options), sizes=S3Sizes(4, 1)), server)
            assert server.seen

    def test_a_stranger(self, certificates: Certificates) -> None:
        """A server that nobody vouches for is an error that says so at once, and what to set."""
        with exact_s3(certificates.server) as server:
            storage = S3Storage("s3://exact", server.options())
            for attempt in (lambda: storage.list(""), lambda: storage.read(PLAIN, 0, 1)):
                with pytest.raises(InvalidRequestError, match=r"certificate that is not trusted.*ca_file"):
                    attempt()
            lenient = S3Storage("s3://exact", server.options(verify_tls=False))
            Wire(server, verify_tls=False).reset()
            assert bytes(lenient.read(PLAIN, 0, 3)) == b"012"


class TestRequesterPays:
    @pytest.mark.parametrize("said", ["option", "alias", "environment"])
    def test_every_request_says_so(self, wire: Wire, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where readers pay, each request says that they do."""
        wire.server.manners = Manners(wants_payer=True)
        if said == "environment":
            monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        options = {"option": {"request_payer": True}, "alias": {"requester_pays": "true"}, "environment": {}}[said]
        use_everything(S3Storage("s3://exact", wire.server.options(**options), sizes=S3Sizes(4, 1)), wire.server)
        assert wire.server.heads and all("x-amz-request-payer" in head for head in wire.server.heads)

    def test_no_request_says_so(self, wire: Wire) -> None:
        """Without it, nothing is said, and the refusal stays one."""
        use_everything(S3Storage("s3://exact", wire.server.options(), sizes=S3Sizes(4, 1)), wire.server)
        assert not any("x-amz-request-payer" in head for head in wire.server.heads)
        wire.server.manners = Manners(wants_payer=True)
        with pytest.raises(DeniedError):
            wire.open().read(PLAIN, 0, 1)


def test_words_of_one_client(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only obstore reads in the environment changes nothing that is written."""
    for name, value in {
        "AWS_CHECKSUM_ALGORITHM": "sha256", "AWS_SERVER_SIDE_ENCRYPTION": "AES256", "AWS_SSE_KMS_KEY_ID": "k",
        "AWS_UNSIGNED_PAYLOAD": "true", "AWS_S3_EXPRESS": "true", "AWS_TIMEOUT": "1ms", "AWS_PROXY_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_BUCKET": "other", "AWS_SKIP_SIGNATURE": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    use_everything(S3Storage("s3://exact", wire.server.options(), sizes=S3Sizes(4, 1)), wire.server)
    for head in wire.server.heads:
        assert head["Authorization"]
        assert head["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
        assert not [name for name in head if name.lower().startswith(("x-amz-server-side", "x-amz-checksum-sha256"))]


class TestCredentials:
    @pytest.fixture
    def keys_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Writes the AWS tools' credentials file, which nothing else stands before."""
        path = tmp_path / "credentials"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

        def write(token: str) -> None:
            path.write_text(
                f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
                f"aws_session_token = {token}\n"
            )

        return write

    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "TokenRefreshRequired"])
    def test_fresh_ones_are_looked_for(self, wire: Wire, keys_file: Callable[[str], None], code: str) -> None:
        """When credentials of the environment have expired, those that are there now are used, by every request."""
        for use in (
            lambda storage: storage.read(PLAIN, 0, 1),
            lambda storage: storage.read(ODD, 0, 1),
            lambda storage: storage.list(""),
            lambda storage: storage.head(PLAIN),
            lambda storage: storage.put("w", b"x"),
        ):
            keys_file("old-token")
            wire.server.manners = Manners()
            storage = S3Storage("s3://exact", {"endpoint_url": wire.server.endpoint_url, "retries_max": 0})
            storage.list("")
            storage.read(PLAIN, 0, 1)
            wire.server.manners = Manners(expired=("old-token", code))
            with pytest.raises(DeniedError, match=code):
                use(storage)
            keys_file("new-token")
            storage = S3Storage("s3://exact", {"endpoint_url": wire.server.endpoint_url, "retries_max": 0})
            keys_file("newer-token")
            wire.server.manners = Manners(expired=("new-token", code))
            use(storage)
            use(storage)

    def test_given_ones_are_not_exchanged(self, wire: Wire, keys_file: Callable[[str], None]) -> None:
        """Credentials that a mount was given are what it uses; the error says that they have expired, and no secret."""
        keys_file("new-token")
        wire.server.manners = Manners(expired=("given-token", "ExpiredToken"))
        storage = wire.open(session_token="given-token")
        for attempt in (
            lambda: storage.read(PLAIN, 0, 1), lambda: storage.list(""), lambda: storage.head(PLAIN),
        ):  # fmt: skip
            with pytest.raises(DeniedError, match=r"expired.*fresh") as caught:
                attempt()
            assert "given-token" not in "".join(traceback.format_exception(caught.value))

    def test_secrets_of_the_environment_are_not_shown(self, wire: Wire, keys_file: Callable[[str], None]) -> None:
        """Keys that were found rather than given are as secret."""
        keys_file("hidden-token")
        storage = S3Storage("s3://exact", {"endpoint_url": wire.server.endpoint_url, "retries_max": 0})
        wire.server.manners = Manners(refuses=dict.fromkeys(("GET", "LIST", "HEAD", "PUT"), (403, "AccessDenied")))
        for attempt in (lambda: storage.read(PLAIN, 0, 1), lambda: storage.list(""), lambda: storage.put("w", b"x")):
            with pytest.raises(DeniedError) as caught:
                attempt()
            text = "".join(traceback.format_exception(caught.value))
            assert not [secret for secret in (ACCESS_KEY, SECRET_KEY, "hidden-token") if secret in text]
