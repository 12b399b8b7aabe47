"""Every knob of the emulator, in one place.

Owns: the fields that ``Emulator`` takes and their checks. Must not import the server.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal

from dw_agents.emulator.accounts import Accounts
from dw_agents.emulator.clock import Clock, parse_duration
from dw_agents.emulator.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator.accounts import Account
    from dw_agents.emulator.backends.base import Backend
    from dw_agents.emulator.clock import DurationSpec

__all__ = ["DEFAULT_MODELS", "Settings"]

DEFAULT_MODELS = (
    "Qwen/Qwen3-14B-FP8",
    "Qwen/Qwen3-Embedding-8B",
    "Qwen/Qwen3-VL-235B-A22B-Instruct-FP8",
    "Qwen/Qwen3-VL-30B-A3B-Instruct-FP8",
    "Qwen/Qwen3.5-35B-A3B-FP8",
    "Qwen/Qwen3.5-397B-A17B",
    "Qwen/Qwen3.5-4B",
    "Qwen/Qwen3.5-9B",
    "openai/gpt-oss-20b",
)
"""What ``GET /models`` lists when every model name is accepted."""


@dataclass(eq=False)
class Settings:
    """What can be set. All times are service seconds; ``speed`` turns them into real ones.

    Attributes:
        backend: what answers: ``"rules"``, ``"local"``, or an object with ``Backend``'s methods, such as
            ``make_backend("upstream", base_url=...)``.
        api_keys: the keys that are accepted, as text or as ``Account`` objects.
        host: address to listen on; only this machine can reach the default.
        port: port to listen on; 0 takes a free one.
        speed: service seconds per real second: 60 makes a minute of the service last one second.
        seed: where durations and faults draw their chances from.
        visible_after: how long ``GET`` and ``DELETE`` answer 404 after a submission.
        pickup: from submission until a daemon may claim the job.
        latency: from the claim until the model answers, on top of what the backend takes.
        realtime_latency: the same for realtime calls.
        faults: the faults in force; more can be added while running.
        models: the models that exist; ``None`` accepts any name.
        cancel_route: ``"delete"``: as Doubleword, ``DELETE`` stops a job and there is no ``/cancel``.
            ``"post"``: as OpenAI, ``POST .../cancel`` stops it, responses show every field and may be
            ``incomplete``, and ``DELETE`` only forgets a finished response (a running one is refused with
            400).
        blocking_timeout: how long a blocking flex call is held before 504; the job lives on.
        blocking_step: a blocking flex call looks for its answer every so often (the service: 0.5); 0 looks at
            once.
        keepalive_every: gap between comments on a silent event stream.
        claim_interval: gap between two looks at the queue (the service: 1.0); ``None`` claims at once.
        claim_batch: most jobs claimed per look.
        model_concurrency: most jobs of one model in progress (the service: 10); ``None``: no limit.
        cold_models: models scaled to zero, whose jobs trickle through at about one a minute.
        upstream_retries: how often a daemon retries a failure of the backend that may pass.
        body_limit: largest body in bytes; more is answered with 413.
        record: how many of the last requests ``requests`` keeps, bodies included.

    Raises:
        ValueError: a value that cannot be.
    """

    backend: str | Backend = "rules"
    _: KW_ONLY
    api_keys: Sequence[str | Account] = ("dw-test-key",)
    host: str = "127.0.0.1"
    port: int = 0
    speed: float = 1.0
    seed: int = 0
    visible_after: float = 0.0
    pickup: DurationSpec = 0.0
    latency: DurationSpec = 0.0
    realtime_latency: DurationSpec = 0.0
    faults: Faults = field(default_factory=Faults)
    models: Sequence[str] | None = None
    cancel_route: Literal["delete", "post"] = "delete"
    blocking_timeout: float = 3600.0
    blocking_step: float = 0.0
    keepalive_every: float = 15.0
    claim_interval: float | None = None
    claim_batch: int = 100
    model_concurrency: int | None = None
    cold_models: Sequence[str] = ()
    upstream_retries: int = 0
    body_limit: int = 10 * 1024 * 1024
    record: int = 200

    def __post_init__(self) -> None:
        if self.backend == "upstream":
            raise ValueError('backend: give make_backend("upstream", base_url=...), which knows where it answers')
        Clock(self.speed)
        Accounts(self.api_keys)
        for name in ("pickup", "latency", "realtime_latency"):
            try:
                parse_duration(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if self.cancel_route not in ("delete", "post"):
            raise ValueError(f'cancel_route is "delete" or "post", not {self.cancel_route!r}')
        self.faults.seed_if_unset(self.seed)
