"""From the configuration to what registry nodes are told and how they may come, HTTP included."""

from __future__ import annotations

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.config import Config, EdgeSettings
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.httpcredentials import load_credentials
from ciris_mesh.runtime.inbound import Listen
from ciris_mesh.runtime.registries import RegistrySettings
from ciris_mesh.runtime.registrybook import all_pins
from ciris_mesh.runtime.registryoperations import registry_config
from ciris_mesh.transport.http_post import Target

#: The file of who may post here, and where this node posts.
CREDENTIALS = "http-credentials"

_HERE = frozenset({"127.0.0.1", "::1", "localhost"})


def registry_settings(config: Config, home: Home) -> RegistrySettings:
    """What the configuration says of registry nodes, as the runtime takes it.

    Raises:
        ConfigError: see `load_credentials` and `all_pins`; or the file posts to who is no registry.
    """
    pins = all_pins(config.trust.registries, home.registries)
    peers = tuple(map(registry_config, pins))
    credentials = load_credentials(home.path / CREDENTIALS)
    known = {pin.key_id for pin in pins}
    for key_id in (*credentials.targets, *credentials.accepted.values()):
        if key_id not in known:
            raise ConfigError(
                f"{home.path / CREDENTIALS}: {key_id} is no registry here; name it in [trust] "
                "registries, or: ciris-mesh peer add --registry"
            )
    targets = {
        key_id: Target(each.url, each.token, each.cert, each.cert_key, config.registry.server_ca)
        for key_id, each in credentials.targets.items()
    }
    return RegistrySettings(peers, home.storage / "registries", targets, credentials)


def listen_of(settings: EdgeSettings) -> Listen:
    """Where to accept frames over HTTP, as `accept` in [registry] says.

    Raises:
        ConfigError: it would be open to the network without a certificate.
    """
    assert settings.accept is not None, "asked for only where it is configured"
    host, port = settings.accept
    if host not in _HERE and settings.tls_cert is None:
        raise ConfigError(
            f"[registry] accept = {host}:{port} is open to the network; set tls_cert and tls_key, "
            "or listen on 127.0.0.1 behind a proxy that has them"
        )
    return Listen(host, port, settings.tls_cert, settings.tls_key, settings.client_ca)
