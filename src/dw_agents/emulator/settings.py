"""Every knob of the emulator, in one place.

Owns: the fields that ``Emulator`` takes and their checks. Must not import the server.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal

from dw_agents.emulator.accounts import Accounts
from dw_agents.emulator.clock import Clock, parse_duration, window_seconds
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
            400). ``None``: as ``profile`` says.
        profile: whose files and batches: ``"doubleword"``, or ``"openai"``: results only at the end, one
            endpoint and one model per file, ``24h`` only, and every error as JSON.
        batch_latency: from the start of a batch until it may finish. Without ``line_latency`` all of its results
            come then, at once.
        line_latency: from the start of a batch until the answer of one of its lines, drawn for each: the results
            trickle in. ``None``: they come together.
        batch_validation: how long a new batch is ``validating``.
        batch_concurrency: most lines of one batch at the backend at once.
        completion_windows: the windows that ``POST /batches`` takes; the OpenAI profile takes only ``24h``.
        max_file_size: largest upload in bytes; more is answered with 413.
        max_requests_per_file: most lines of an upload; 0 means no limit.
        batch_capacity: most unfinished batch lines of one model; more is answered with 429. ``None``: no limit.
        enqueued_token_limit: in the OpenAI profile: most tokens (estimated at four bytes each) of one model in
            unfinished batches; a batch above it fails. ``None``: no limit.
        blocking_timeout: how long a blocking flex call is held before 504; the job lives on.
        blocking_step: a blocking flex call looks for its answer every so often (the service: 0.5); 0 looks at
            once.
        keepalive_every: gap between comments on a silent event stream.
        claim_interval: gap between two looks at the queue (the service: 1.0); ``None`` claims at once.
        claim_batch: most jobs claimed per look.
        model_concurrency: most jobs of one model in progress (the service: 10); ``None``: no limit.
        cold_models: models scaled to zero, whose jobs trickle through at about one a minute.
        upstream_retries: how often a daemon retries a failure of the backend that may pass.
        body_limit: largest body in bytes, of a request (413) and of a line in a file (400).
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
    cancel_route: Literal["delete", "post"] | None = None
    profile: Literal["doubleword", "openai"] = "doubleword"
    batch_latency: DurationSpec = 0.0
    line_latency: DurationSpec | None = None
    batch_validation: DurationSpec = 0.0
    batch_concurrency: int = 32
    completion_windows: Sequence[str] = ("24h", "1h")
    max_file_size: int = 200 * 1024 * 1024
    max_requests_per_file: int = 50_000
    batch_capacity: int | None = None
    enqueued_token_limit: int | None = None
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
        self._check_durations()
        if self.profile not in ("doubleword", "openai"):
            raise ValueError(f'profile is "doubleword" or "openai", not {self.profile!r}')
        if self.cancel_route is None:
            self.cancel_route = "post" if self.profile == "openai" else "delete"
        if self.cancel_route not in ("delete", "post"):
            raise ValueError(f'cancel_route is "delete" or "post", not {self.cancel_route!r}')
        if self.batch_concurrency < 1:
            raise ValueError(f"batch_concurrency is at least 1, not {self.batch_concurrency!r}")
        self.faults.seed_if_unset(self.seed)

    def _check_durations(self) -> None:
        for name in ("pickup", "latency", "realtime_latency", "batch_latency", "line_latency", "batch_validation"):
            spec = getattr(self, name)
            if spec is None and name == "line_latency":
                continue
            try:
                parse_duration(spec)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        for window in self.completion_windows:
            try:
                window_seconds(window)
            except ValueError as error:
                raise ValueError(f"completion_windows: {error}") from None
