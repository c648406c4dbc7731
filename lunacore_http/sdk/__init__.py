"""The application SDK: what an application's back end uses to work with a tokenizer (``docs/reference/sdk.md``).

It needs the extra ``sdk`` alone, and nothing of the server.
"""

from lunacore.tokens import Token
from lunacore_http.sdk.application import Application, AsyncApplication
from lunacore_http.sdk.endpoints import Answer
from lunacore_http.sdk.found_tokens import find_tokens
from lunacore_http.sdk.refusals import UnexpectedAnswer
from lunacore_http.sdk.requests import Request

__all__ = ["Answer", "Application", "AsyncApplication", "Request", "Token", "UnexpectedAnswer", "find_tokens"]
