"""Brings artifacts to the server: offers what was found, and sends or stages the contents that the server lacks."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.client.packs import Content, Uploader
from opengrid.core.codec import from_json, to_json
from opengrid.core.errors import GridError, ServerUnreachable, Superseded
from opengrid.core.packs import MissingPacks, Packed, PackedContents, PackLinks, WantedPacks
from opengrid.core.protocol import ArtifactFile, Artifacts, Wanted
from opengrid.node.contents import NotNow, opened, put, server_time_s, stage
from opengrid.node.link import Channel
from opengrid.node.settling import Version


@dataclass(frozen=True, slots=True)
class Item:
    """One file that was found, and what the server is told of it."""

    root: Path
    path: str
    version: Version
    offer: ArtifactFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What has become of some items: each is in one of these."""

    safe: Sequence[Item] = ()
    coming: Sequence[Item] = ()  #: another machine brings their contents
    failed: Sequence[tuple[Item, str]] = ()  #: with the reason; they may be brought again


class Delivery:
    """The way to the server. `staging` is a folder of the server, used where this machine has it and no bucket is."""

    def __init__(self, channel: Channel, *, staging: str | None, has_links: bool) -> None:
        self._channel, self._has_links = channel, has_links
        is_here = staging is not None and not has_links and os.access(staging, os.W_OK)
        self._staging = Path(staging) if staging is not None and is_here else None

    def bring(self, items: Sequence[Item]) -> Delivered:
        """Bring files; ServerUnreachable, with nothing lost, while the server is away. May be repeated."""
        try:
            answer = self._offer(items)
            wanted: dict[str, list[Item]] = {sha256: [] for sha256 in answer.contents}
            for item in items:
                wanted.get(item.offer.sha256, []).append(item)
            reasons = self._bring_all(wanted)
            to_record = wanted.keys() - reasons.keys()
            brought = [item for item in items if item.offer.sha256 in to_record]
            refused = self._offer(brought).contents if brought else ()
        except (ServerUnreachable, Superseded):
            raise
        except GridError as error:
            return Delivered(failed=[(item, error.message) for item in items])
        reasons |= dict.fromkeys(refused, "it changed while it was being saved")
        return Delivered(
            safe=[i for i in items if i.offer.sha256 not in reasons and i.offer.sha256 not in answer.coming],
            coming=[i for i in items if i.offer.sha256 in answer.coming],
            failed=[(i, reasons[i.offer.sha256]) for i in items if i.offer.sha256 in reasons],
        )

    def close(self) -> None:
        """Remove what is left in the staging folder: all is safe, or given up."""
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)

    def _offer(self, items: Sequence[Item]) -> Wanted:
        message = to_json(Artifacts(files=tuple(item.offer for item in items)))
        timeout_s = server_time_s(sum(item.version.size for item in items))
        response = self._channel.call(
            lambda http: http.request("POST", "/agent/v1/artifacts", json=message, timeout_s=timeout_s)
        )
        return from_json(Wanted, response.json())

    def _bring_all(self, wanted: Mapping[str, Sequence[Item]]) -> dict[str, str]:
        """Bring contents that several files may have each; return why some could not be brought."""
        if self._has_links and len(wanted) > 1:
            with contextlib.suppress(OSError, NotNow, ValueError):  # which one it was is found one by one
                return dict.fromkeys(self._upload([alike[0] for alike in wanted.values()]), "it kept changing")
        reasons = {sha256: self._bring(alike[0]) for sha256, alike in wanted.items()}
        return {sha256: reason for sha256, reason in reasons.items() if reason is not None}

    def _upload(self, items: Sequence[Item]) -> set[str]:
        """Put contents into the bucket; return those that are not any more what they were."""
        uploader = Uploader(_Carrier(self._channel), shares=False)
        return uploader.bring(
            [
                Content(
                    sha256=one.offer.sha256,
                    size=one.offer.size,
                    open=functools.partial(opened, one.root, one.path, one.version),
                )
                for one in items
            ]
        )

    def _bring(self, item: Item) -> str | None:
        """Send or stage a content; return why it could not be."""
        try:
            if self._has_links:
                return "it kept changing" if self._upload([item]) else None
            with opened(item.root, item.path, item.version) as file:
                if self._staging is not None:
                    stage(file, item.offer, self._staging)
                else:
                    self._channel.call(lambda http: put(http, file, item.offer))
        except (ServerUnreachable, Superseded):
            raise
        except GridError as error:
            return error.message
        except OSError as error:
            return error.strerror or str(error)
        except (NotNow, ValueError) as error:
            return str(error)
        return None


class _Carrier:
    """The server, asked about packs of artifacts."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def links(self, packs: Sequence[str]) -> Mapping[str, str]:
        wanted = to_json(WantedPacks(packs=tuple(packs)))
        answer = self._channel.call(lambda http: http.request("POST", "/agent/v1/artifacts/links", json=wanted))
        return {link.pack: link.url for link in from_json(PackLinks, answer.json()).links}

    def add(self, contents: Sequence[Packed]) -> Sequence[str]:
        brought = to_json(PackedContents(contents=tuple(contents)))
        answer = self._channel.call(lambda http: http.request("PUT", "/agent/v1/artifacts/packed", json=brought))
        return from_json(MissingPacks, answer.json()).missing
