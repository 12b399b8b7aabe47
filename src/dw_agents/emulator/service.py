"""The service behind the routes: its state, and the life of a stored model call.

Owns: ``Service``, which routes are given, and running a job from its body to its last state. Must not import
routes.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec

from dw_agents.emulator.accounts import Accounts
from dw_agents.emulator.answers import Answers, CancelledUpstream, NetworkError, shows_details
from dw_agents.emulator.backends.base import UpstreamError
from dw_agents.emulator.batchrun import BatchRunner
from dw_agents.emulator.batchstore import BatchStore
from dw_agents.emulator.clock import Clock, parse_duration
from dw_agents.emulator.filestore import FileStore
from dw_agents.emulator.jobs import JobStore
from dw_agents.emulator.objects import error_type, openai_object, output_items, response_usage, stored_object
from dw_agents.emulator.reasoning import reasoning_refusal
from dw_agents.emulator.scheduler import Scheduler
from dw_agents.emulator.translate import BadBodyError, to_chat
from dw_agents.emulator.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dw_agents.emulator.backends.base import Backend
    from dw_agents.emulator.counters import Counters
    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.jobs import Job
    from dw_agents.emulator.settings import Settings

__all__ = ["Service"]


class Service:
    """The state that routes share.

    Args:
        settings: the knobs; those without a duration are read live.
        backend: what answers.
        counters: where everything is counted.
    """

    def __init__(self, settings: Settings, backend: Backend, counters: Counters) -> None:
        self.settings = settings
        self.counters = counters
        self.faults = settings.faults
        self.clock = Clock(settings.speed)
        self.accounts = Accounts(settings.api_keys)
        self.jobs = JobStore(self.clock.now)
        self.answers = Answers(backend, self.clock, retries=settings.upstream_retries)
        self._rng = random.Random(settings.seed)  # noqa: S311 - repeatable durations, not secrets
        self._realtime_latency = parse_duration(settings.realtime_latency)
        self.scheduler = Scheduler(
            self.clock,
            self._rng,
            self.perform,
            pickup=parse_duration(settings.pickup),
            latency=parse_duration(settings.latency),
            claim_interval=settings.claim_interval,
            claim_batch=settings.claim_batch,
            model_concurrency=settings.model_concurrency,
            cold_models=frozenset(settings.cold_models),
        )
        self.turns = Turns()
        self.files = FileStore()
        self.batches = BatchStore(self.clock.now)
        self.runner = BatchRunner(self, self._rng)

    @property
    def openai(self) -> bool:
        """Whether files, batches and errors are OpenAI's."""
        return self.settings.profile == "openai"

    @property
    def like_openai(self) -> bool:
        """Whether responses look and cancel as OpenAI's do."""
        return self.settings.cancel_route == "post"

    def knows_model(self, model: str) -> bool:
        """Whether the model exists here."""
        return self.settings.models is None or model in self.settings.models

    def encoded(self, job: Job) -> bytes:
        """The response object of a job as JSON; kept until the job changes."""
        if job.encoded is None:
            shown = openai_object(job) if self.like_openai else stored_object(job)
            job.encoded = msgspec.json.encode(shown)
        return job.encoded

    def submit(self, job: Job) -> None:
        """Accept a flex or background job: stored, counted, queued."""
        self.jobs.add(job)
        self.counters.stored()
        self.counters.called(job.tier)
        self.scheduler.submit(job)

    def submit_realtime(self, job: Job) -> None:
        """Accept a realtime job that runs in the background."""
        self.jobs.add(job)
        self.counters.stored()
        self.counters.called("realtime")
        self.scheduler.run_now(job, self.realtime_latency())

    async def close(self) -> None:
        """Stop everything that runs, and give the space of the files back."""
        await self.scheduler.close()
        await self.runner.close()
        self.files.close()

    async def wait(self, job: Job) -> bool:
        """Hold a blocking call until its job ends; false when the time-out of such calls passed first."""
        started = self.clock.now()
        finished = await job.wait(self.clock.real(self.settings.blocking_timeout))
        step = self.settings.blocking_step
        if finished and step > 0:
            held = self.clock.now() - started
            await self.clock.sleep(-held % step)
        return finished

    def realtime_latency(self) -> float:
        """Service seconds that this realtime call takes."""
        return self._realtime_latency(self._rng)

    async def realtime_chat(self, chat: dict[str, Any], faults: Sequence[Fault]) -> dict[str, Any]:
        """Answer a realtime chat call, counted.

        Raises:
            UpstreamError: the model refused or failed; a network error counts as 502, a cancelled call as
                499.
        """
        self.counters.called("realtime")
        await self.clock.sleep(self.realtime_latency())
        try:
            return await self.answers.chat(chat, faults, retry=False)
        except NetworkError as error:
            raise UpstreamError(502, str(error)) from error
        except CancelledUpstream:
            raise UpstreamError(499, "Request was cancelled") from None

    async def perform(self, job: Job) -> None:
        """Run one job to its last state."""
        try:
            chat = self.runnable(job.endpoint, job.body, job.owner)
            job.answer = await self.answers.chat(chat, job.faults, retry=job.tier != "priority")
        except BadBodyError as error:
            self._fail(job, 400, str(error))
        except UpstreamError as error:
            self._fail(job, error.status, error.message)
        except NetworkError as error:
            self._fail(job, None, str(error))
        except CancelledUpstream:
            job.task = None
            job.end(self.clock.now(), "cancelled")
        except Exception as error:  # noqa: BLE001 - a backend of the user's own may raise anything
            self._fail(job, 500, f"the backend raised {type(error).__name__}: {error}")
        else:
            self._complete(job, job.answer)

    def runnable(self, endpoint: str, body: dict[str, Any], owner: str) -> dict[str, Any]:
        """The chat request of a stored body, after the checks that the service makes only when it runs it.

        Args:
            endpoint: ``"/responses"`` or ``"/chat/completions"``.
            body: the request as stored.
            owner: who pays.

        Raises:
            BadBodyError: it does not parse.
            UpstreamError: it is refused.
        """
        chat = to_chat(body) if endpoint == "/responses" else body
        refusal = reasoning_refusal(chat)
        if refusal is not None:
            raise UpstreamError(refusal.status, msgspec.json.decode(refusal.body)["error"]["message"])
        self.check_payer(owner, body.get("model"))
        return chat

    def check_payer(self, owner: str, model: Any) -> None:
        """Check what may have changed since a request was stored.

        Raises:
            UpstreamError: 402 without credits, 404 without the model.
        """
        if not self.accounts.solvent(owner):
            raise UpstreamError(402, "Account balance too low. Please add credits to continue.")
        if not isinstance(model, str) or not self.knows_model(model):
            raise UpstreamError(404, f"No model `{model}` exists.")

    def _fail(self, job: Job, status: int | None, message: str) -> None:
        error: dict[str, Any] = {"type": error_type(status), "message": message}
        if status is not None:
            error["code"] = status
        job.fail(self.clock.now(), error)

    def _complete(self, job: Job, answer: dict[str, Any]) -> None:
        now = self.clock.now()
        if job.endpoint == "/responses":
            usage = response_usage(answer.get("usage"), details=shows_details(job.faults))
            job.complete(now, output=output_items(answer, streamed=True), usage=usage)
            return
        answer["id"] = job.id
        for choice in answer["choices"]:
            # The daemon reads the answer as a stream and puts it together without them.
            choice.pop("logprobs", None)
        item = {"type": "message", "role": "assistant", "content": answer}
        job.complete(now, output=[item], usage=answer.get("usage"))
