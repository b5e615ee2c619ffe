"""Redis and MariaDB as programs of our own: where they are, how they are configured, how they are
prepared.

The demo and the tests both run the real servers, each with its own port, socket and data folder,
and never touch a server of the system. What both need is written once, here: finding the program,
the text of its configuration file, the empty data folder, and SQL statements run as the server's
administrator. Starting and stopping belongs to whoever owns the process: supervisord in the demo,
`shared.testing.servers` in the tests.
"""

import getpass
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PROJECT_ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"

# Folders that hold server programs but are often missing from a user's PATH.
_EXTRA_BIN_DIRS = (
    PROJECT_ROOT / ".local" / "bin",
    Path("/usr/sbin"),
    Path("/usr/local/sbin"),
    Path("/opt/homebrew/bin"),
    Path("/opt/homebrew/opt/mariadb/bin"),
    Path("/usr/local/opt/mariadb/bin"),
)
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing zero included.
_MAX_SOCKET_PATH_BYTES = 100


class ServerMissingError(RuntimeError):
    """A server program that the project needs is not installed."""


class ServerPreparationError(RuntimeError):
    """A server's data folder or schema could not be prepared; the message carries the server's own
    words.
    """


def find_program(*names: str) -> Path:
    """The first of `names` (newest spelling first) on PATH or in the usual server folders.

    Raises ServerMissingError, which says how to install it.
    """
    search_path = os.pathsep.join(
        [os.environ.get("PATH", ""), *(str(folder) for folder in _EXTRA_BIN_DIRS)]
    )
    for name in names:
        found = shutil.which(name, path=search_path)
        if found is not None:
            return Path(found)
    raise ServerMissingError(
        f"{names[0]} is not installed; run setup/native/bootstrap.sh, "
        "which installs it without a system service"
    )


def socket_path(folder: Path, name: str) -> Path:
    """`folder/name`, or a path in the system's temp folder when the kernel would refuse one that
    long.

    The substitute folder is the same for the same `folder`, belongs to the caller and is closed to
    others.
    """
    wanted = folder / name
    if len(os.fsencode(wanted)) <= _MAX_SOCKET_PATH_BYTES:
        return wanted
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    substitute = Path(tempfile.gettempdir()) / f"3t-{os.getuid()}-{digest}"
    substitute.mkdir(mode=0o700, exist_ok=True)
    if substitute.stat().st_uid != os.getuid():
        raise ServerPreparationError(
            f"{substitute} belongs to another user; remove it or set TMPDIR"
        )
    return substitute / name


@dataclass(frozen=True)
class RedisServerConfig:
    """One Redis server on loopback; `durable` keeps an append-only file (the demo resumes, tests do
    not).
    """

    data_dir: Path
    port: int
    password: str | None = None
    durable: bool = True

    @property
    def config_path(self) -> Path:
        return self.data_dir.parent / "redis.conf"

    def command(self) -> list[str]:
        """The command that runs this server in the foreground."""
        return [str(find_program("redis-server")), str(self.config_path)]

    def render(self) -> str:
        """The text of redis.conf."""
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f'dir "{self.data_dir}"',
            "daemonize no",
            "tcp-backlog 128",
            # The design's rule: broker and cache, and nothing may vanish from either under memory
            # pressure.
            "maxmemory-policy noeviction",
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
        ]
        if self.password:
            lines.append(f'requirepass "{self.password}"')
        return "\n".join(lines) + "\n"

    def prepare(self) -> None:
        """Create the data folder and the configuration file (0600: it holds the password)."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        write_private(self.config_path, self.render())

    def is_ready(self) -> bool:
        """Whether the server answers and has finished loading its append-only file."""
        client = redis.Redis(
            host=LOOPBACK,
            port=self.port,
            password=self.password,
            socket_timeout=2.0,
            socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
        )
        with client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False


@dataclass(frozen=True)
class MariaDbServerConfig:
    """One MariaDB server on loopback, administered by the current user through its socket (no root
    password).

    `durable=False` gives up the flush at every commit: for tests only.
    """

    data_dir: Path
    port: int
    socket: Path
    buffer_pool_mb: int = 128
    redo_log_mb: int = 48
    durable: bool = True

    @property
    def config_path(self) -> Path:
        return self.data_dir.parent / "my.cnf"

    def command(self) -> list[str]:
        """The command that runs this server in the foreground."""
        return [str(find_program("mariadbd", "mysqld")), f"--defaults-file={self.config_path}"]

    def render(self) -> str:
        """The text of my.cnf."""
        options: dict[str, str] = {
            "datadir": str(self.data_dir),
            # A server clears leftovers from its tmpdir at start: never another server's.
            "tmpdir": str(self.data_dir.parent / "mariadb-tmp"),
            "socket": str(self.socket),
            "port": str(self.port),
            "bind-address": LOOPBACK,
            "pid-file": str(self.data_dir.parent / "mariadb.pid"),
            "skip-name-resolve": "ON",
            "skip-log-bin": "",
            "performance-schema": "OFF",
            "character-set-server": "utf8mb4",
            "default-time-zone": "+00:00",
            "transaction-isolation": "READ-COMMITTED",
            "max-connections": "200",
            "innodb-buffer-pool-size": f"{self.buffer_pool_mb}M",
            "innodb-log-file-size": f"{self.redo_log_mb}M" if self.durable else "16M",
            "innodb-flush-log-at-trx-commit": "1" if self.durable else "0",
            # market_data and the sorts over it live in MEMORY tables.
            "max-heap-table-size": "256M",
            "tmp-table-size": "64M",
            "max-allowed-packet": "64M",
        }
        if os.geteuid() == 0:
            options["user"] = "root"
        body = "\n".join(f"{key} = {value}" if value else key for key, value in options.items())
        return f"[mysqld]\n{body}\n\n[client]\nsocket = {self.socket}\n"

    def prepare(self) -> None:
        """Write the configuration file and, the first time, the system tables of an empty data
        folder.
        """
        write_private(self.config_path, self.render())
        (self.data_dir.parent / "mariadb-tmp").mkdir(exist_ok=True)
        if self.data_dir.exists():
            return
        # Made beside its place and moved there as a whole: half of it is never taken for all.
        draft = self.data_dir.with_name(self.data_dir.name + ".new")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(parents=True, mode=0o700)
        user = getpass.getuser()
        _run(
            [
                str(find_program("mariadb-install-db", "mysql_install_db")),
                "--no-defaults",
                f"--datadir={draft}",
                f"--user={user}",
                "--skip-test-db",
                "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={user}",
            ],
            what="prepare MariaDB's data folder",
        )
        draft.replace(self.data_dir)

    def execute_sql(self, sql: str, variables: Mapping[str, str] | None = None) -> None:
        """Run a script as the administrator; `variables` become session variables (`@name`), quoted
        here.

        Raises ServerPreparationError with the server's message.
        """
        assignments = "".join(
            f"SET @{name} = {_sql_string(value)};\n" for name, value in (variables or {}).items()
        )
        _run(
            [
                str(find_program("mariadb", "mysql")),
                f"--defaults-file={self.config_path}",
                "--batch",
                "--default-character-set=utf8mb4",
            ],
            what="run SQL in MariaDB",
            stdin=assignments + sql,
        )

    def is_ready(self) -> bool:
        """Whether the server answers on its socket."""
        try:
            self.execute_sql("SELECT 1;")
        except ServerPreparationError:
            return False
        return True


def prepare_schema(
    server: MariaDbServerConfig, environ: Mapping[str, str], passwords: Mapping[str, str]
) -> None:
    """Create database and users by `database/init.sql`, then bring the schema up to date by
    Alembic. Repeatable.

    `environ` lets Alembic find the settings and secrets (`T3_CONFIG`, `T3_SECRETS`, `T3__…`);
    `passwords` are the variables that init.sql asks for: `app_password`, `migrate_password`. Raises
    ServerPreparationError.
    """
    init_sql = (PROJECT_ROOT / "database" / "init.sql").read_text(encoding="utf-8")
    server.execute_sql(init_sql, passwords)
    _run(
        [
            sys.executable,
            "-m",
            "alembic",
            "-c",
            str(PROJECT_ROOT / "database" / "alembic.ini"),
            "upgrade",
            "head",
        ],
        what="migrate the schema",
        environ=environ,
    )


def write_private(path: Path, text: str) -> None:
    """Write `path` so that only its owner can ever read it (mode 0600 from the first byte, replaced
    as a whole).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    draft.replace(path)


def _sql_string(value: str) -> str:
    """A MariaDB string literal; the hexadecimal form needs no escaping rules."""
    return f"CONVERT(0x{value.encode('utf-8').hex()} USING utf8mb4)" if value else "''"


def _run(
    command: list[str],
    *,
    what: str,
    stdin: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    completed = subprocess.run(
        command, input=stdin, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    if completed.returncode != 0:
        words = (completed.stderr.strip() or completed.stdout.strip())[-2000:]
        raise ServerPreparationError(f"could not {what}: {words}")
