"""Caller identity: from the JWT that a request carries to a verified ``lunacore.identity.Identity``.

``providers`` chooses the credential and the provider, and ``jwt`` verifies. ``jwks`` keeps the providers' public keys, which
``fetch`` gets and ``jwk`` reads.
"""
