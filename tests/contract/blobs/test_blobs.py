"""What every store of contents promises, on a folder and on a bucket; and what a bucket does when it fails."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from tests.support.s3 import Endpoint

from opengrid.blobs.blobs import Blobs
from opengrid.blobs.folder import FolderBlobs
from opengrid.blobs.objects import ObjectBlobs
from opengrid.core.errors import GridError, InvalidValue, NotFound, Unusable

MIB = 1 << 20


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def make_objects(bucket: str, tmp_path: Path) -> Callable[..., ObjectBlobs]:
    def make(
        cache: str = "cache", *, most_cached: int = 1 << 30, name: str = bucket, retry_s: float = 60.0
    ) -> ObjectBlobs:
        return ObjectBlobs(f"s3://{name}/pre/fix", tmp_path / cache, most_cached=most_cached, retry_s=retry_s)

    return make


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return FolderBlobs(tmp_path / "blobs")
    return request.getfixturevalue("make_objects")()


def put(blobs: Blobs, content: bytes) -> str:
    with blobs.writing(digest_of(content)) as writer:
        for start in range(0, len(content), 3 * MIB):
            writer.write(content[start : start + 3 * MIB])
    return digest_of(content)


def break_off(blobs: Blobs, digest: str) -> None:
    with blobs.writing(digest) as writer:
        writer.write(b"tr")
        raise RuntimeError


@pytest.mark.parametrize("size", [0, 1, 20 * MIB + 17], ids=["empty", "byte", "parts"])
def test_what_is_written_is_there_whole(blobs: Blobs, size: int) -> None:
    content = os.urandom(size)
    digest = digest_of(content)
    assert (blobs.exists(digest), blobs.sizes([digest])) == (False, {})
    with pytest.raises(NotFound):
        blobs.path(digest)
    put(blobs, content)
    assert (blobs.exists(digest), blobs.sizes([digest])) == (True, {digest: size})
    assert blobs.path(digest).read_bytes() == content
    assert digest in blobs.location(digest)
    put(blobs, content)
    blobs.remove([digest])
    blobs.remove([digest])
    assert (blobs.exists(digest), blobs.sizes([digest])) == (False, {})


def test_what_is_not_what_it_says_does_not_appear(blobs: Blobs, tmp_path: Path) -> None:
    digest = digest_of(b"true")
    with pytest.raises(InvalidValue), blobs.writing(digest) as writer:
        writer.write(b"false")
    with pytest.raises(RuntimeError):
        break_off(blobs, digest)
    (tmp_path / "staged").write_bytes(b"false")
    with pytest.raises(InvalidValue):
        blobs.adopt(tmp_path / "staged", digest)
    with pytest.raises(NotFound):
        blobs.adopt(tmp_path / "staged", digest)
    assert not blobs.exists(digest)


def test_staged_files_are_taken_over_at_once(blobs: Blobs, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    contents = [str(i).encode() for i in range(100)]
    for content in contents:
        (staging / digest_of(content)).write_bytes(content)
    wrong = digest_of(b"other")
    (staging / wrong).write_bytes(b"wrong")
    blobs.adopt_all(staging, [*map(digest_of, contents), wrong, digest_of(b"nowhere")])
    sizes = {digest_of(content): len(content) for content in contents}
    assert blobs.sizes([*sizes, wrong]) == sizes
    assert not blobs.exists(wrong)
    assert not list(staging.iterdir())


@pytest.mark.parametrize("digest", ["", "x", "../../etc/passwd", "0" * 63, "0" * 65, "A" * 64, "0" * 63 + "/"])
def test_what_is_no_digest_names_nothing(blobs: Blobs, digest: str) -> None:
    for ask in (
        blobs.path,
        blobs.exists,
        lambda one: blobs.sizes([one]),
        lambda one: blobs.remove([one]),
        blobs.location,
    ):
        with pytest.raises(InvalidValue):
            ask(digest)


def test_a_content_is_checked(blobs: Blobs) -> None:
    digest = put(blobs, b"content")
    assert blobs.check([digest]) == set()
    assert blobs.check([digest_of(b"nothing")]) == {digest_of(b"nothing")}


def test_a_damaged_content_of_a_folder_is_removed(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = put(blobs, b"content")
    blobs.path(digest).write_bytes(b"damaged")
    assert blobs.check([digest]) == {digest}
    assert not blobs.exists(digest)


def test_another_host_finds_what_is_in_the_bucket(make_objects: Callable[..., ObjectBlobs]) -> None:
    content = os.urandom(9 * MIB)
    digest = put(make_objects(), content)
    other = make_objects("other")
    assert other.sizes([digest]) == {digest: len(content)}
    assert other.path(digest).read_bytes() == content
    assert other.location(digest).startswith("s3://b-")


def test_a_damaged_entry_of_the_cache_is_fetched_again(make_objects: Callable[..., ObjectBlobs]) -> None:
    blobs = make_objects()
    digest = put(blobs, b"content")
    path = blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert blobs.check([digest]) == set()
    assert blobs.path(digest).read_bytes() == b"content"


def test_what_is_damaged_in_the_bucket_is_never_given(make_objects: Callable[..., ObjectBlobs], bucket: str) -> None:
    digest = put(make_objects(), b"content")
    direct = S3Store(bucket, client_options={"allow_http": True})
    obstore.put(direct, f"pre/fix/{digest[:2]}/{digest}", b"damaged")
    other = make_objects("other")
    with pytest.raises(InvalidValue):
        other.path(digest)
    assert other.check([digest]) == {digest}
    assert not other.exists(digest)


def test_the_cache_keeps_to_its_bound_and_lets_go_what_was_not_used_for_longest(
    make_objects: Callable[..., ObjectBlobs], tmp_path: Path
) -> None:
    blobs = make_objects(most_cached=5 * MIB)
    digests = [put(blobs, bytes([i]) * MIB) for i in range(4)]
    for age, digest in enumerate(digests):
        path = blobs.path(digest)
        os.utime(path, ns=(time.time_ns() - (1000 - age) * 10**9, path.stat().st_mtime_ns))
    used = blobs.path(digests[0])  # the oldest, used just now
    os.link(blobs.path(digests[1]), tmp_path / "tree")  # to let go of it would free nothing
    os.utime(tmp_path / "tree", ns=(1, 1))
    digests += [put(blobs, bytes([i]) * MIB) for i in range(4, 6)]
    cached = {path.name for path in (tmp_path / "cache").glob("*/*")}
    assert used.exists()
    assert digests[1] in cached
    assert digests[2] not in cached
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/*")) <= 5 * MIB
    assert blobs.path(digests[2]).read_bytes() == b"\2" * MIB


def test_throttling_and_short_failures_are_waited_out(
    make_objects: Callable[..., ObjectBlobs], endpoint: Endpoint
) -> None:
    blobs = make_objects()
    assert not blobs.exists(digest_of(b"x"))
    endpoint.fail(503, 503, 500, method="PUT")
    digest = put(blobs, b"content")
    endpoint.fail(503, method="GET", part=digest)
    assert make_objects("other").path(digest).read_bytes() == b"content"
    assert endpoint.faults == []


def test_a_part_that_fails_is_sent_again(make_objects: Callable[..., ObjectBlobs], endpoint: Endpoint) -> None:
    content = os.urandom(20 * MIB)
    endpoint.fail(503, 500, method="PUT", part="partNumber")
    blobs = make_objects()
    digest = put(blobs, content)
    assert endpoint.faults == []
    assert make_objects("other").path(digest).read_bytes() == content


def test_a_download_that_is_cut_begins_again(make_objects: Callable[..., ObjectBlobs], endpoint: Endpoint) -> None:
    content = os.urandom(3 * MIB)
    digest = put(make_objects(), content)
    endpoint.fail("cut", "cut", method="GET", part=digest)
    assert make_objects("other").path(digest).read_bytes() == content


def test_wrong_credentials_are_told_without_the_secret(
    make_objects: Callable[..., ObjectBlobs], endpoint: Endpoint
) -> None:
    endpoint.fail(*[403] * 50)
    for use in (lambda b: b.exists(digest_of(b"x")), lambda b: put(b, b"x")):
        with pytest.raises(Unusable, match="refuses us") as error:
            use(make_objects())
        assert "AWS_ACCESS_KEY_ID" in str(error.value.hint)
        assert "very-secret" not in f"{error.value.message}{error.value.hint}"


def test_a_bucket_that_does_not_exist_is_named(make_objects: Callable[..., ObjectBlobs]) -> None:
    with pytest.raises(Unusable, match="there is no bucket nosuch-bucket"):
        make_objects(name="nosuch-bucket").exists(digest_of(b"x"))


def test_a_service_that_stays_away_is_told_and_nothing_counts_as_stored(
    make_objects: Callable[..., ObjectBlobs], endpoint: Endpoint
) -> None:
    blobs = make_objects(retry_s=3)
    assert not blobs.exists(digest_of(b"content"))
    endpoint.fail(*[500] * 500, method="PUT")
    with pytest.raises(GridError, match="does not answer as it should"):
        put(blobs, b"content")
    assert not blobs.exists(digest_of(b"content"))
    endpoint.fail()
    assert blobs.exists(put(blobs, b"content"))


def test_an_address_at_which_nothing_answers_is_named(
    make_objects: Callable[..., ObjectBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(GridError, match=r"nothing answers for s3:.*: Connection refused \(http://127\.0\.0\.1:9\)$"):
        make_objects(retry_s=3).exists(digest_of(b"x"))


def test_what_a_service_says_of_itself_is_told(make_objects: Callable[..., ObjectBlobs], endpoint: Endpoint) -> None:
    endpoint.fail(*[503] * 500)
    with pytest.raises(GridError, match=r"does not answer as it should: SlowDown: no \(http://[0-9.:]+\)$"):
        make_objects(retry_s=3).exists(digest_of(b"x"))


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "http://bucket/x", "/folder", "s3://b?x=1", ""])
def test_another_address_is_no_storage(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidValue, match="no address in a bucket"):
        ObjectBlobs(url, tmp_path, most_cached=1)


def test_many_threads_may_use_it(blobs: Blobs) -> None:
    contents = [os.urandom(1000) for _ in range(40)]
    threads = [threading.Thread(target=put, args=(blobs, content)) for content in contents * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(blobs.path(digest_of(content)).read_bytes() == content for content in contents)
