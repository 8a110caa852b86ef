"""The ICE servers that are given out now: credentials of providers are fetched before anybody asks."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable

import aiohttp

from signaling.ice import IceServer, Lease, Provider, ordered, providers, read_answer, shared_secret
from signaling.settings import Settings

log = logging.getLogger(__name__)

FETCH_TIMEOUT = 10.0
"""Seconds for one answer of a provider."""
PATIENCE = 3.0
"""Seconds for which the first people wait for the first answer."""


class IceServers:
    """`run` keeps credentials fresh; `for_clients` and `for_server` answer at once from what is there."""

    def __init__(self, settings: Settings, asked: Iterable[Provider] | None = None) -> None:
        """`asked` instead of the providers that the settings name."""
        self._settings = settings
        self._leases = [(provider, Lease()) for provider in (providers(settings) if asked is None else asked)]
        self._unasked = {provider.name for provider, _ in self._leases}
        self._all_asked = asyncio.Event()
        self.counters: Counter[str] = Counter(fetched=0, failed=0) if self._leases else Counter()
        """Answers of providers, good and other; and what `signaling/turn_server.py` counts."""

    def for_clients(self) -> list[IceServer]:
        """Everything there is, with credentials of one's own where they can be made here."""
        return ordered([*self._stun(), *self._shared(), *self._fetched()])

    def for_server(self) -> list[IceServer]:
        """The same for our own connections. They need no TURN server of this very machine: it reaches us as it is."""
        return ordered([*self._stun(), *([] if self._settings.turn else self._shared()), *self._fetched()])

    def _stun(self) -> list[IceServer]:
        return [{"urls": [self._settings.stun_url]}] if self._settings.stun_url else []

    def _shared(self) -> list[IceServer]:
        settings = self._settings
        if not settings.turn_urls:
            return []
        user = secrets.token_hex(4)  # one of one's own: coturn counts allocations by it
        return [shared_secret(settings.turn_urls, settings.turn_secret, settings.turn_ttl, time.time(), user)]

    def _fetched(self) -> list[IceServer]:
        now = time.monotonic()
        return [server for _, lease in self._leases for server in lease.servers(now)]

    async def opened(self) -> None:
        """Wait, but not for long, until every provider has been asked once."""
        if self._unasked:
            with contextlib.suppress(TimeoutError):  # without them, then: most people need no relay
                await asyncio.wait_for(self._all_asked.wait(), PATIENCE)

    async def run(self) -> None:
        """Keep the credentials fresh; returns when there is nothing to keep."""
        if not self._leases:
            return
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT)) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for provider, lease in self._leases:
                tasks.create_task(self._keep(http, provider, lease))

    async def _keep(self, http: aiohttp.ClientSession, provider: Provider, lease: Lease) -> None:
        while True:
            asked_at = time.monotonic()
            try:
                servers, lifetime = await fetch(http, provider)
            except ProviderFailed as failure:
                lease.fail(time.monotonic())
                self.counters["failed"] += 1
                log.warning("%s gave no TURN credentials: %s", provider.name, failure)
            else:
                lease.renew(servers, lifetime, asked_at)
                self.counters["fetched"] += 1
            self._unasked.discard(provider.name)
            if not self._unasked:
                self._all_asked.set()
            await asyncio.sleep(lease.due - time.monotonic())


class ProviderFailed(Exception):
    """A provider is down, slow, refuses, or says what cannot be understood. The message has no secrets in it."""


async def fetch(http: aiohttp.ClientSession, provider: Provider) -> tuple[list[IceServer], float]:
    """Servers, and the seconds for which their credentials hold. Raises ProviderFailed."""
    form, json = (provider.body, None) if provider.form else (None, provider.body)
    try:
        async with http.post(
            provider.url, headers=provider.headers, data=form, json=json, allow_redirects=False
        ) as answer:
            if answer.status not in (200, 201):
                raise ProviderFailed(f"it answered {answer.status}")
            return read_answer(provider, await answer.json(content_type=None))
    except TimeoutError:
        raise ProviderFailed(f"it did not answer in {http.timeout.total:g} s") from None
    except aiohttp.ClientError as error:
        raise ProviderFailed(type(error).__name__) from None
    except RecursionError:
        raise ProviderFailed("its answer is nested too deeply") from None
    except ValueError as error:
        raise ProviderFailed(f"its answer makes no sense: {error}") from None
