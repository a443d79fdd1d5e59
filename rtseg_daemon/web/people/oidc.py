"""Login by a provider of OpenID Connect: authorization code with PKCE, and an ID token that is checked in full."""

import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from rtseg_daemon.config.web import Oidc, Role, check_issuer
from rtseg_daemon.web.people.groups import best_role, foreign_name, texts
from rtseg_daemon.web.people.refusals import Away, Forbidden

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a key that the provider alone has. `none` and those by a shared secret are not among them."""
SECONDS = 10.0
KEPT_SECONDS = 3600.0
AGAIN_SECONDS = 60.0
"""So often are keys fetched again for a token whose key is not known."""
LEEWAY_SECONDS = 60
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass
class Provider:
    """The provider, with its description and keys as they were last fetched."""

    oidc: Oidc
    lock: threading.Lock = field(default_factory=threading.Lock)
    description: dict[str, Any] = field(default_factory=dict)
    keys: KeySet | None = None
    described_at: float = float("-inf")
    keys_at: float = float("-inf")

    def client(self, redirect_uri: str) -> OAuth2Client:
        """A client of the provider. It follows no redirect."""
        secret = self.oidc.client_secret_file.read_text().strip() if self.oidc.client_secret_file else None
        return OAuth2Client(
            self.oidc.client_id,
            secret,
            scope=" ".join(self.oidc.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            timeout=SECONDS,
            verify=self.trusted(),
            follow_redirects=False,
        )

    def trusted(self) -> ssl.SSLContext:
        """Whose certificates are believed."""
        return ssl.create_default_context(cafile=str(self.oidc.ca) if self.oidc.ca else None)

    def fetch(self, address: str) -> Any:
        """A JSON document. Raises Away where it cannot be had."""
        try:
            answer = httpx.get(address, timeout=SECONDS, verify=self.trusted(), follow_redirects=False)
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Away("the provider of logins cannot be asked now; try again later") from error

    def endpoints(self) -> dict[str, Any]:
        """What the provider says of itself. Raises Away where that is of another one, or leads out of https."""
        with self.lock:
            if time.monotonic() - self.described_at > KEPT_SECONDS:
                self.description = described(
                    self.fetch(self.oidc.issuer.rstrip("/") + "/.well-known/openid-configuration"), self.oidc.issuer
                )
                self.described_at = time.monotonic()
            return self.description

    def key_set(self, *, anew: bool = False) -> KeySet:
        """The provider's keys. `anew`: a token names one that is not among them."""
        address = self.endpoints()["jwks_uri"]
        with self.lock:
            age = time.monotonic() - self.keys_at
            if self.keys is None or age > KEPT_SECONDS or (anew and age > AGAIN_SECONDS):
                try:
                    self.keys = KeySet.import_key_set(self.fetch(address))
                except (JoseError, ValueError, KeyError, TypeError) as error:
                    raise Away("the provider of logins has no keys that can be read") from error
                self.keys_at = time.monotonic()
            return self.keys

    def start(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """The address at the provider to which the browser is sent."""
        address = self.endpoints()["authorization_endpoint"]
        with self.client(redirect_uri) as client:
            url, _ = client.create_authorization_url(address, state=state, nonce=nonce, code_verifier=verifier)
        return str(url)

    def exchange(self, redirect_uri: str, code: str, verifier: str) -> dict[str, Any]:
        """The tokens for a code. Raises Forbidden where the provider does not take it, Away where it is away."""
        address = self.endpoints()["token_endpoint"]
        try:
            with self.client(redirect_uri) as client:
                return dict(client.fetch_token(address, code=code, code_verifier=verifier))
        except OAuthError as error:
            raise Forbidden("the provider of logins does not take this login; begin it again") from error
        except (httpx.HTTPError, ValueError) as error:
            raise Away("the provider of logins cannot be asked now; try again later") from error

    def person(self, tokens: dict[str, Any], nonce: str) -> tuple[str, Role]:
        """Name and role by the ID token. Raises Forbidden for a token that is not for us, or for no role here."""
        claims = self.claims(str(tokens.get("id_token", "")), nonce, tokens.get("access_token"))
        name = foreign_name("oidc", claims.get(self.oidc.name_claim))
        role = best_role(texts(claims.get(self.oidc.roles_claim)), self.oidc.roles)
        if name is None or role is None:
            raise Forbidden("the provider of logins knows you, but none of your groups has a role here")
        return name, role

    def claims(self, id_token: str, nonce: str, access_token: Any) -> dict[str, Any]:
        """What the ID token says, once signature, issuer, audience, times and nonce are right. Raises Forbidden."""
        options = {
            "iss": {"essential": True, "value": self.oidc.issuer},
            "aud": {"essential": True, "value": self.oidc.client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        params = {"nonce": nonce, "client_id": self.oidc.client_id, "access_token": access_token}
        try:
            decoded = self.decoded(id_token)
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError) as error:
            raise Forbidden("what the provider of logins signed is not for this login; begin it again") from error
        return cast("dict[str, Any]", dict(claims))

    def decoded(self, id_token: str) -> jwt.Token:
        """The token, its signature checked, with the keys fetched again where its key is a new one."""
        try:
            return jwt.decode(id_token, self.key_set(), algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            return jwt.decode(id_token, self.key_set(anew=True), algorithms=ALGORITHMS)


def described(found: Any, issuer: str) -> dict[str, Any]:
    """A provider's own description. Raises Away where it is another provider's, or an address is not safe."""
    if not isinstance(found, dict) or found.get("issuer") != issuer:
        raise Away("the provider of logins describes itself as another one than web.oidc.issuer")
    try:
        for name in ENDPOINTS:
            check_issuer(str(found[name]).partition("?")[0])
    except (KeyError, ValueError) as error:
        raise Away(f"the provider of logins says no safe address for {name}") from error
    return found
