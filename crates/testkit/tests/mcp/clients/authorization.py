"""An authorization server for tests: the routes of MCP's Python SDK (metadata, dynamic registration, codes with
PKCE), which issue JSON Web Tokens for the resource that is asked for.

usage: authorization.py
A client's name is its user's. The first time, a user consents to `mesh:read` alone; after that to what is asked.
"""

import base64
import secrets
import socket
import time

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.server.auth.provider import AuthorizationCode, AuthorizeError, RefreshToken, construct_redirect_uri
from mcp.server.auth.routes import create_auth_routes
from mcp.server.auth.settings import ClientRegistrationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

KEY = ec.generate_private_key(ec.SECP256R1())
LIFETIME = 300
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
ISSUER = f"http://127.0.0.1:{listening.getsockname()[1]}"


def text(number):
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


class Registered(OAuthClientInformationFull):
    """A client that may ask for more than it has registered with."""

    def validate_scope(self, requested_scope):
        return requested_scope.split() if requested_scope else None


class Server:
    def __init__(self):
        self.clients, self.codes, self.refreshes, self.consented = {}, {}, {}, set()

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client):
        self.clients[client.client_id] = Registered.model_validate(client.model_dump())

    async def authorize(self, client, params):
        if not params.resource:
            raise AuthorizeError("invalid_target", "the resource is not named")
        user, asked = client.client_name, params.scopes or []
        granted = asked if user in self.consented else [scope for scope in asked if scope == "mesh:read"]
        self.consented.add(user)
        code = secrets.token_urlsafe(32)
        self.codes[code] = AuthorizationCode(
            code=code, scopes=granted, expires_at=time.time() + 60, client_id=client.client_id,
            code_challenge=params.code_challenge, redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly, resource=params.resource,
            subject=user)
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state, iss=ISSUER)

    async def load_authorization_code(self, client, code):
        return self.codes.get(code)

    async def exchange_authorization_code(self, client, code):
        del self.codes[code.code]
        return self.tokens(code.client_id, code.subject, code.scopes, code.resource)

    async def load_refresh_token(self, client, token):
        return self.refreshes.get(token)

    async def exchange_refresh_token(self, client, token, scopes):
        del self.refreshes[token.token]
        return self.tokens(token.client_id, token.subject, scopes, token.resource)

    def tokens(self, client_id, user, scopes, resource):
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": resource, "sub": user, "client_id": client_id, "iat": now,
                  "exp": now + LIFETIME, "jti": secrets.token_hex(8), "scope": " ".join(scopes)}
        access = jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "one", "typ": "at+jwt"})
        refresh = RefreshToken(token=secrets.token_urlsafe(32), client_id=client_id, scopes=scopes, resource=resource,
                               subject=user)
        self.refreshes[refresh.token] = refresh
        return OAuthToken(access_token=access, expires_in=LIFETIME, scope=" ".join(scopes), refresh_token=refresh.token)


async def keys(_):
    point = KEY.public_key().public_numbers()
    key = {"kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "alg": "ES256", "x": text(point.x), "y": text(point.y)}
    return JSONResponse({"keys": [key]})


issuer = OAuthMetadata(issuer=ISSUER, authorization_endpoint=ISSUER, token_endpoint=ISSUER).issuer
routes = create_auth_routes(Server(), issuer, client_registration_options=ClientRegistrationOptions(enabled=True))
routes.append(Route("/jwks", keys))
print(f"listening {ISSUER}", flush=True)
uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning")).run(sockets=[listening])
