"""A mail server for tests: prints its port, then each message that it takes as one line of JSON.

Usage: smtp_server.py MODE [CERTIFICATE KEY]; MODE is plain, starttls or tls. With a certificate it wants the user "hb" with
the password "s3cret-of-mail". A recipient that begins with "full" is refused for now, with "gone" for good.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("full"):
            return "452 4.2.2 mailbox full"
        if address.startswith("gone"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        taken = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "body": message.get_content(),
            "tls": mode == "tls" or session.ssl is not None,
        }
        print(json.dumps(taken), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"hb", b"s3cret-of-mail")
    return AuthResult(success=good, handled=good)


mode = sys.argv[1]
context = None
if mode != "plain":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])


def protocol():
    if mode == "plain":
        return SMTP(Handler())
    return SMTP(
        Handler(),
        tls_context=context if mode == "starttls" else None,
        require_starttls=mode == "starttls",
        auth_required=True,
        auth_require_tls=mode == "starttls",
        authenticator=authenticate,
    )


async def serve():
    loop = asyncio.get_running_loop()
    tls = context if mode == "tls" else None
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(serve())
