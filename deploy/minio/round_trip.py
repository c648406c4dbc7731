"""Sends a value through the tokenizer, as browser and application, and reads it back; standard input is the application's key."""

import os
import sys
import time

import httpx
import jwt

url = os.environ["LUNACORE_TOKENIZER_PUBLIC_URL"]
key = sys.stdin.read()
session = os.urandom(8).hex()


def signed(**claims: str) -> str:
    now = int(time.time())
    claims = {"iss": "https://app.example.com", "aud": url, "iat": now, "exp": now + 60, **claims}
    return jwt.encode(claims, key, "EdDSA", {"kid": "application"})


def call(path: str, body: dict, headers: dict) -> dict:
    answer = httpx.post(url + path, json=body, headers=headers).json()
    assert answer["success"], answer["error"]
    return answer["data"]


user = {"authorization": "Bearer " + signed(sub="user", session_id=session)}
application = {"authorization": "Bearer " + signed(sub="application")}
value = b"4111 1111 1111 1111"

ticket = call("/tokenize", {"metadata": {"dataType": "string"}, "valueFormat": "raw"}, user)
httpx.put(ticket["uploadUrl"], headers=ticket["headers"], content=value).raise_for_status()
named = {"sessionId": session, "tokenId": ticket["tokenId"]}
assert call("/grant/verify", named, application) == {"valid": True}

call("/grant/set", named, application)
ticket = call("/detokenize", {"tokenId": ticket["tokenId"]}, user)
read = httpx.get(ticket["downloadUrl"], headers=ticket["headers"]).raise_for_status()
assert read.content == value
call("/token/delete", {"tokenId": named["tokenId"]}, application)
print("a value went to", ticket["downloadUrl"].partition("?")[0].rpartition("/")[0], "and came back")
