"""The application's side of LunaCore: one object that a back end configures once and uses everywhere."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

import anyio.to_thread

from lunacore.errors import ConfigError, LunaCoreError
from lunacore_http.sdk import calls, settings
from lunacore_http.sdk.anonymous import AnonymousSessions
from lunacore_http.sdk.connection import AsyncConnection, Connection
from lunacore_http.sdk.credentials import Credentials
from lunacore_http.sdk.endpoints import Endpoints
from lunacore_http.sdk.found_tokens import find_tokens
from lunacore_http.sdk.middleware import ASGIMiddleware, WSGIMiddleware
from lunacore_http.sdk.signing_keys import SigningKeys
from lunacore_http.sdk.transfers import Source, Transfers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from lunacore.receipts import LabelErasure
    from lunacore.tokens import Token
    from lunacore_http.sdk.calls import Duration, Tokens
    from lunacore_http.sdk.endpoints import Answer
    from lunacore_http.sdk.middleware import ASGIApplication, SessionIdProvider, WSGIApplication
    from lunacore_http.sdk.signing_keys import KeySource

_OWN_SESSION_BYTES: Final = 16


class _Base:
    """What the synchronous and the asynchronous application have in common.

    Args:
        tokenizer_url: the tokenizer's public URL: audience of all JWTs, and where browsers are sent back to.
        issuer: what the tokenizer's configuration calls this application's ``issuer``.
        signing_key: private keys in PEM (RSA, P-256, Ed25519), a ``Path`` to them, or a function that gives them. The first
            signs, all are published.
        session_id_provider: tells the session id of whoever sent a ``Request``, None for nobody.
        internal_url: where this process reaches the tokenizer, if not at its public URL.
        session_ttl: how long a session of the tokenizer may last; the tokenizer's ``sessions.max_ttl`` bounds it.
        timeout: seconds that one connection, or one read or write on it, may take.
        retries: how often what is safe to repeat is tried again.
        ca: PEM file of certificates to trust, besides the system's.
        anonymous_secret: 32 bytes or more, for anonymous sessions; of several the first signs.
        anonymous_ttl: how long they last.
        anonymous_same_site: ``SameSite`` of their cookie.
        now: the clock, in Unix seconds.
        random: random bytes.

    Raises:
        ConfigError: naming the setting that is wrong.
    """

    def __init__(
        self,
        tokenizer_url: str,
        *,
        issuer: str,
        signing_key: KeySource,
        session_id_provider: SessionIdProvider | None = None,
        internal_url: str | None = None,
        session_ttl: str | int = "12h",
        timeout: float = 10.0,
        retries: int = 2,
        ca: str | Path | None = None,
        anonymous_secret: str | bytes | Sequence[str | bytes] | None = None,
        anonymous_ttl: str | int = "24h",
        anonymous_same_site: str = "Lax",
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._settings = settings.checked(
            tokenizer_url=tokenizer_url,
            issuer=issuer,
            internal_url=internal_url,
            session_ttl=session_ttl,
            timeout=timeout,
            retries=retries,
            ca=ca,
        )
        if session_id_provider is not None and not callable(session_id_provider):
            raise ConfigError("session_id_provider must be a function of a request")
        self._provider = session_id_provider
        self._random = random
        self._credentials = Credentials(
            self._settings, SigningKeys(signing_key, now=time.monotonic), now=now, random=random
        )
        self._endpoints = Endpoints(self._settings, self._credentials)
        self.anonymous: Final = AnonymousSessions(
            self._settings,
            anonymous_secret,
            ttl=settings.seconds(anonymous_ttl, "anonymous_ttl"),
            same_site=anonymous_same_site,
            now=now,
            random=random,
        )
        self._transfers = Transfers(self._settings, sleep=time.sleep)
        self._connect()

    def _connect(self) -> None:
        """Open what talks to the tokenizer."""
        raise NotImplementedError

    @classmethod
    def from_environment(
        cls,
        session_id_provider: SessionIdProvider | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        **others: Any,  # noqa: ANN401 - those of the constructor
    ) -> Self:
        """Configured by ``LUNACORE_APP_TOKENIZER_URL``, ``…_ISSUER``, ``…_SIGNING_KEY`` or ``…_SIGNING_KEY_FILE`` and others.

        Args:
            session_id_provider: as in the constructor.
            environ: in place of the process's own environment.
            others: further arguments of the constructor, which go before the environment.

        Raises:
            ConfigError: naming the variable or setting that is wrong.
        """
        return cls(**{**settings.from_environment(environ), "session_id_provider": session_id_provider, **others})

    @property
    def tokenizer_url(self) -> str:
        """The tokenizer's public URL, without a slash at the end."""
        return self._settings.tokenizer_url

    @property
    def issuer(self) -> str:
        return self._settings.issuer

    def asgi(self, application: ASGIApplication) -> ASGIApplication:
        """The application, with the two paths below ``/.lunasec`` in front."""
        return ASGIMiddleware(application, self._endpoints, self.anonymous, self._provider)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The JWK Set of all current keys: what ``/.lunasec/jwks.json`` answers.

        Raises:
            StoreUnavailable: the function that gives the keys never gave any.
        """
        return self._credentials.jwks()

    def assertion(self, session_id: str, state: str) -> str:
        """A one-use assertion that the browser with this state has this session, for frameworks without middleware.

        Raises:
            InvalidRequest: state or session id have not the right form.
            StoreUnavailable: there is no key to sign with.
        """
        return self._credentials.assertion(session_id, state)

    def secure_frame(self, session_id: str | None, query: str) -> Answer:
        """What ``/.lunasec/secure-frame`` answers to whoever has this session, for frameworks without middleware.

        Args:
            session_id: None for nobody, which is answered with 401.
            query: that of the request, still encoded.
        """
        return self._endpoints.secure_frame(session_id, query)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.issuer} at {self.tokenizer_url}>"

    def _own_session(self) -> str:
        """A session of nobody's, for one value that the application puts away itself."""
        return f"own:{self._random(_OWN_SESSION_BYTES).hex()}"


class Application(_Base):
    """The application, for code that waits; safe to use from several threads. Close it, or use ``with``.

    Every call raises the errors of ``lunacore.errors``. Besides those that it names, each raises ``StoreUnavailable`` when the
    tokenizer cannot be reached, ``Unauthenticated`` when it does not accept this application's key, and ``RateLimited``.
    """

    grants: Grants
    sessions: Sessions
    values: Values

    def _connect(self) -> None:
        self._connection = Connection(self._settings, self._credentials)
        self.grants = Grants(self._connection)
        self.sessions = Sessions(self._connection)
        self.values = Values(self._connection, self._transfers, self._own_session)

    def wsgi(self, application: WSGIApplication) -> WSGIApplication:
        """The application, with the two paths below ``/.lunasec`` in front.

        Raises:
            ConfigError: the session id provider is a coroutine function.
        """
        return WSGIMiddleware(application, self._endpoints, self.anonymous, self._provider)

    def metadata(self, token: str) -> dict[str, Any]:
        """What was said of a value when it was tokenized.

        Raises:
            InvalidRequest: the string is no token.
            TokenNotFound: there is no such token, or it was deleted.
        """
        return self._connection.run(calls.metadata(token))

    def label(self, tokens: Tokens, labels: Iterable[str]) -> None:
        """Say whose values these are, for ``delete_label``: give tokens labels, beside those that they have. Repeatable.

        Raises:
            InvalidRequest: a string is no token, one of ``labels`` is no label, or a token would have more than 255.
            TokenNotFound: one of the tokens does not exist; others may have been given the labels.
            Conflict: one of the tokens is being changed by others at this moment; try again.
        """
        self._connection.run(calls.label(tokens, labels))

    def delete(self, tokens: Tokens) -> None:
        """Erase tokens and their values for good; one that is not there counts as erased.

        Raises:
            InvalidRequest: a string is no token.
        """
        self._connection.run(calls.delete(tokens))

    def delete_label(self, label: str) -> LabelErasure:
        """Erase all that has a label, such as all values of a person, and get signed receipts of it.

        Raises:
            InvalidRequest: it is no label.
        """
        return self._connection.run(calls.delete_label(label))

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
        self._transfers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Grants:
    """What the sessions of users may do with tokens. ``issuer`` names another issuer of the tenant, such as an auth proxy."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self, session_id: str, tokens: Tokens, *, ttl: Duration | None = None, issuer: str | None = None
    ) -> None:
        """Let a session read tokens.

        Args:
            session_id: whose.
            tokens: one or several; more than 500 go in several calls.
            ttl: how long; the tokenizer's ``grants.default_ttl`` where None.
            issuer: who vouches for the session, if not this application.

        Raises:
            InvalidRequest: a string is no token, or ``ttl`` is longer than the tokenizer allows.
            TokenNotFound: one of the tokens does not exist.
            Conflict: the session has ended.
        """
        self._connection.run(calls.set_grants(session_id, tokens, ttl=ttl, issuer=issuer))

    def verify(self, session_id: str, tokens: Tokens, *, issuer: str | None = None) -> None:
        """Make sure that a session may store tokens and that their values are there: before tokens that a client sent are saved.

        Raises:
            GrantMissing: it may not store one of them. Save none.
            InvalidRequest: a string is no token, or the session id is none.
        """
        self._connection.run(calls.verify_grants(session_id, tokens, issuer=issuer))

    def revoke(self, session_id: str, tokens: Tokens | None = None, *, issuer: str | None = None) -> None:
        """Void a session's grants for tokens, or all that it has where None. Tickets handed out live on until they expire."""
        self._connection.run(calls.revoke_grants(session_id, tokens, issuer=issuer))

    def create_found(
        self, session_id: str, document: object, *, ttl: Duration | None = None, issuer: str | None = None
    ) -> tuple[Token, ...]:
        """Let a session read every token in a document, such as a response, and return them; errors are those of ``create``.

        Raises:
            TooLarge: the document is nested too deeply, or too large to look through.
        """
        found = find_tokens(document)
        self.create(session_id, found, ttl=ttl, issuer=issuer)
        return found

    def verify_found(self, session_id: str, document: object, *, issuer: str | None = None) -> tuple[Token, ...]:
        """Verify every token in a document, such as a request, and return them; errors are those of ``verify``.

        Raises:
            TooLarge: the document is nested too deeply, or too large to look through.
        """
        found = find_tokens(document)
        self.verify(session_id, found, issuer=issuer)
        return found

    def carry_over(
        self, old: str, new: str, tokens: Tokens, *, ttl: Duration | None = None, issuer: str | None = None
    ) -> None:
        """Verify tokens for one session and let another read them: from an anonymous session to that of the new user.

        Raises:
            GrantMissing: the old session may not store one of them; the new one got none.
        """
        self._connection.run(calls.carry_over(old, new, tokens, ttl=ttl, issuer=issuer))


class Sessions:
    """The sessions of users."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def end(self, session_id: str, *, issuer: str | None = None) -> None:
        """End a session, as at log-out: its grants are void at once, and it gets no new ones."""
        self._connection.run(calls.end_session(session_id, issuer=issuer))


class Values:
    """Values that the back end itself puts away or reads; sealed in this process, so that no store sees them."""

    def __init__(self, connection: Connection, transfers: Transfers, own_session: Callable[[], str]) -> None:
        self._connection = connection
        self._transfers = transfers
        self._own_session = own_session

    def put(
        self,
        value: bytes | BinaryIO,
        metadata: Mapping[str, Any] | None = None,
        *,
        ttl: Duration | None = None,
        labels: Iterable[str] = (),
    ) -> Token:
        """Put a value away, whole or not at all, and return its token.

        Args:
            value: bytes, or a binary file object that is read from where it stands to its end, in bounded memory.
            metadata: ``{"dataType": "string"}`` where None.
            ttl: how long until the value is erased; never where None.
            labels: whose value it is, for ``Application.delete_label``.

        Raises:
            InvalidRequest: the metadata is malformed.
            TooLarge: the value is larger than the tokenizer allows.
            StoreUnavailable: the object store cannot be reached; nothing is left of the value.
        """
        source, session = Source.of(value), self._own_session()
        said = {"dataType": "string"} if metadata is None else metadata
        ticket = self._connection.run(calls.tokenize(session, said, source.size, ttl=ttl, labels=labels))
        try:
            self._transfers.upload(ticket, source)
            self._connection.run(calls.verify_grants(session, ticket.token, issuer=None))
        except BaseException:
            self._discard(ticket.token)
            raise
        return ticket.token

    def get(self, token: str) -> bytes:
        """The whole value; the tokenizer must allow this application to read (``may_read``).

        Raises:
            InvalidRequest: the string is no token.
            RoleForbidden: the application may not read values.
            TokenNotFound: there is no such token, or it was deleted.
            IntegrityError: what is stored was damaged or tampered with.
        """
        with self.open(token) as value:
            return value.read()

    def open(self, token: str) -> BinaryIO:
        """The value as a seekable binary file object, in bounded memory; errors are those of ``get``."""

        def ticket() -> calls.ValueTicket:
            return self._connection.run(calls.detokenize(token))

        return self._transfers.open(ticket(), ticket)

    def _discard(self, token: str) -> None:
        """Erase what a failed put may have left; where that fails too, the tokenizer's sweeper does it."""
        try:
            self._connection.run(calls.delete(token))
        except LunaCoreError:
            return


class AsyncApplication(_Base):
    """The application for asyncio: the same names, as coroutines. Close it, or use ``async with``."""

    grants: AsyncGrants
    sessions: AsyncSessions
    values: AsyncValues

    def _connect(self) -> None:
        self._connection = AsyncConnection(self._settings, self._credentials)
        self.grants = AsyncGrants(self._connection)
        self.sessions = AsyncSessions(self._connection)
        self._threads = Connection(self._settings, self._credentials)
        self.values = AsyncValues(Values(self._threads, self._transfers, self._own_session))

    async def metadata(self, token: str) -> dict[str, Any]:
        """``Application.metadata``."""
        return await self._connection.run(calls.metadata(token))

    async def label(self, tokens: Tokens, labels: Iterable[str]) -> None:
        """``Application.label``."""
        await self._connection.run(calls.label(tokens, labels))

    async def delete(self, tokens: Tokens) -> None:
        """``Application.delete``."""
        await self._connection.run(calls.delete(tokens))

    async def delete_label(self, label: str) -> LabelErasure:
        """``Application.delete_label``."""
        return await self._connection.run(calls.delete_label(label))

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()
        self._threads.close()
        self._transfers.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncGrants:
    """``Grants``, as coroutines."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self, session_id: str, tokens: Tokens, *, ttl: Duration | None = None, issuer: str | None = None
    ) -> None:
        """``Grants.create``."""
        await self._connection.run(calls.set_grants(session_id, tokens, ttl=ttl, issuer=issuer))

    async def verify(self, session_id: str, tokens: Tokens, *, issuer: str | None = None) -> None:
        """``Grants.verify``."""
        await self._connection.run(calls.verify_grants(session_id, tokens, issuer=issuer))

    async def revoke(self, session_id: str, tokens: Tokens | None = None, *, issuer: str | None = None) -> None:
        """``Grants.revoke``."""
        await self._connection.run(calls.revoke_grants(session_id, tokens, issuer=issuer))

    async def create_found(
        self, session_id: str, document: object, *, ttl: Duration | None = None, issuer: str | None = None
    ) -> tuple[Token, ...]:
        """``Grants.create_found``."""
        found = find_tokens(document)
        await self.create(session_id, found, ttl=ttl, issuer=issuer)
        return found

    async def verify_found(self, session_id: str, document: object, *, issuer: str | None = None) -> tuple[Token, ...]:
        """``Grants.verify_found``."""
        found = find_tokens(document)
        await self.verify(session_id, found, issuer=issuer)
        return found

    async def carry_over(
        self, old: str, new: str, tokens: Tokens, *, ttl: Duration | None = None, issuer: str | None = None
    ) -> None:
        """``Grants.carry_over``."""
        await self._connection.run(calls.carry_over(old, new, tokens, ttl=ttl, issuer=issuer))


class AsyncSessions:
    """``Sessions``, as coroutines."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def end(self, session_id: str, *, issuer: str | None = None) -> None:
        """``Sessions.end``."""
        await self._connection.run(calls.end_session(session_id, issuer=issuer))


class AsyncValues:
    """``Values``, as coroutines. Sealing, opening and files keep a thread busy, so each transfer has a worker thread."""

    def __init__(self, values: Values) -> None:
        self._values = values

    async def put(
        self,
        value: bytes | BinaryIO,
        metadata: Mapping[str, Any] | None = None,
        *,
        ttl: Duration | None = None,
        labels: Iterable[str] = (),
    ) -> Token:
        """``Values.put``."""
        return await anyio.to_thread.run_sync(partial(self._values.put, value, metadata, ttl=ttl, labels=labels))

    async def get(self, token: str) -> bytes:
        """``Values.get``."""
        return await anyio.to_thread.run_sync(self._values.get, token)

    async def open(self, token: str) -> AsyncValue:
        """``Values.open``, as a file object whose methods are coroutines."""
        return AsyncValue(await anyio.to_thread.run_sync(self._values.open, token))


class AsyncValue:
    """A value that is read piece by piece: a binary file object whose methods are coroutines. Use ``async with``."""

    _PIECE: Final = 1 << 16

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes, fewer only at the end; all that is left where negative."""
        return await anyio.to_thread.run_sync(self._file.read, size)

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place, and return it."""
        return await anyio.to_thread.run_sync(self._file.seek, offset, whence)

    async def close(self) -> None:
        await anyio.to_thread.run_sync(self._file.close)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces of the value, in order."""
        while piece := await self.read(self._PIECE):
            yield piece

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
