"""Programs on other hosts by the system's ssh: with the keys, agent and settings of the user who runs this server.

Nothing is asked (BatchMode), and a host whose key is not known is refused with the key's fingerprint: whoever runs the
server accepts it by an `ssh` of their own. All of ~/.ssh/config counts.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue, Unusable

_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ClearAllForwardings": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
}

#: How ssh itself fails, whatever the program's own exit codes are.
_SSH_FAILED = 255

_KEYSCAN_S = 5

_HOST = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)|\[(?P<six>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where ssh goes: a name, an address, or what ~/.ssh/config calls a host."""

    name: str
    user: str | None = None
    port: int | None = None

    @property
    def target(self) -> str:
        """As ssh is told it."""
        return f"{self.user}@{self.name}" if self.user else self.name

    @property
    def line(self) -> str:
        """What a person types."""
        return f"ssh {f'-p {self.port} ' if self.port else ''}{self.target}"


def parse_host(text: str) -> Host:
    """Return `[USER@]HOST[:PORT]` as a host; InvalidValue for anything else."""
    found = _HOST.fullmatch(text)
    if found is None or not 0 < int(found["port"] or 22) <= 65535:
        raise InvalidValue(f"{text!r} is no host", hint="[USER@]HOST[:PORT], or a name of ~/.ssh/config", field="hosts")
    return Host(
        name=found["name"] or found["six"], user=found["user"], port=int(found["port"]) if found["port"] else None
    )


class Ssh:
    """Runs programs on other hosts as one user of this one. For several threads at once."""

    def __init__(self, environment: Mapping[str, str], *, user: str, here: str) -> None:
        """`user` on the host `here` is whose keys are used, for messages."""
        self._environment, self._user, self._here = dict(environment), user, here

    def run(
        self, host: Host, command: str, program: str, *, on_line: Callable[[str], None], timeout_s: float
    ) -> tuple[int, str]:
        """Run a command of the host's shell with `program` as its input; return its exit code and last words on stderr.

        `on_line` gets every line of its stdout at once. Unusable, in words, when ssh does not come that far.
        """
        with subprocess.Popen(
            ["ssh", *_options(host), "-T", "-x", "--", host.target, command],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal of a server in the foreground is the server's matter
        ) as ssh:
            assert ssh.stdin is not None  # noqa: S101 - all three were asked for
            assert ssh.stdout is not None  # noqa: S101
            assert ssh.stderr is not None  # noqa: S101
            errors, pipe = list[bytes](), ssh.stderr
            reader = threading.Thread(target=lambda: errors.append(pipe.read()), daemon=True)
            reader.start()
            timer = threading.Timer(timeout_s, ssh.kill)
            timer.start()
            try:
                with contextlib.suppress(BrokenPipeError), ssh.stdin:
                    ssh.stdin.write(program.encode())
                for line in ssh.stdout:
                    on_line(line.decode(errors="replace").rstrip("\r\n"))
                code = ssh.wait()
            finally:
                timer.cancel()
                ssh.kill()
                reader.join()
        said = b"".join(errors).decode(errors="replace")
        if code == _SSH_FAILED:
            raise self._failed(host, said)
        if code < 0:
            raise Unusable(f"it did not end within {timeout_s:g} s")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return code, lines[-1] if lines else ""

    def _failed(self, host: Host, said: str) -> Unusable:
        me = f"on {self._here}, as {self._user}"
        if "IDENTIFICATION HAS CHANGED" in said:
            return Unusable(
                "its host key is another one than before: it was installed anew, or somebody stands between",
                hint=f"when you know why, {me}: `{_forgetting(host, said)}`, then `{host.line}`",
            )
        if "Host key verification failed" in said or "host key is known for" in said:
            kind = found[1] if (found := re.search(r"No (\S+) host key is known", said)) else None
            shown = self._fingerprint(host, kind)
            return Unusable(
                f"its host key is not known here{f': {shown}' if shown else ''}",
                hint=f"{me}: `{host.line}` shows the key and asks; compare it with `ssh-keygen -lf "
                f"/etc/ssh/ssh_host_{(kind or 'ed25519').lower()}_key.pub`, typed at that host",
            )
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = (lines[-1] if lines else "ssh gave no reason").removeprefix("ssh: ").rstrip(".")
        if "Permission denied" in last:
            return Unusable(
                f"ssh: {last}",
                hint=f"the keys of {self._user} on {self._here} are used, and none may need a passphrase there: "
                f"`ssh-copy-id {f'-p {host.port} ' if host.port else ''}{host.target}`",
            )
        return Unusable(f"ssh: {last}", hint=f"does `{host.line}` work {me}?")

    def _fingerprint(self, host: Host, kind: str | None) -> str | None:
        """Return `ED25519 SHA256:…` as the host shows it, None when it does not answer directly."""
        settings = dict(
            line.split(" ", 1)
            for line in self._output(["ssh", "-G", *_port(host), "--", host.target]).splitlines()
            if " " in line
        )
        name, port = settings.get("hostname", host.name), settings.get("port", str(host.port or 22))
        keys = dict[str, str]()
        for line in self._output(["ssh-keyscan", "-T", str(_KEYSCAN_S), "-p", port, "--", name]).splitlines():
            fields = line.split()
            if len(fields) == 3 and not line.startswith("#"):
                keys[fields[1]] = fields[2]
        wanted = next((name for name in sorted(keys) if (kind or "ed25519").lower() in name), next(iter(keys), None))
        if wanted is None:
            return None
        try:
            digest = hashlib.sha256(base64.b64decode(keys[wanted], validate=True)).digest()
        except binascii.Error:
            return None
        word = wanted.removeprefix("ssh-").partition("-")[0].upper()
        return f"{word} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def _output(self, command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                command,
                check=False,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout


def _options(host: Host) -> list[str]:
    return [*(part for name, value in _OPTIONS.items() for part in ("-o", f"{name}={value}")), *_port(host)]


def _port(host: Host) -> list[str]:
    return ["-p", str(host.port)] if host.port else []


def _forgetting(host: Host, said: str) -> str:
    """Return the command that removes a known key, from the file and by the name under which ssh says it has it."""
    file = re.search(r"Offending \S+ key in (.+):[0-9]+", said)
    name = re.search(r"Host key for (\S+) has changed", said)
    known_as = name[1] if name else f"[{host.name}]:{host.port}" if host.port else host.name
    return shlex.join(["ssh-keygen", *(("-f", file[1]) if file else ()), "-R", known_as])
