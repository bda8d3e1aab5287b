"""`VirtualRNodeInterface`: an emulated RNode as an interface of Reticulum, without a serial port.

Reticulum loads `interfaces/VirtualRNodeInterface.py`, which imports this. It speaks the same bytes
as the real driver, over the Unix socket that `ciris-mesh ether` makes beside each pty. Reticulum
asks for a class of this shape: rns 1.5.7, `Reticulum._synthesize_interface`.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
from contextlib import suppress
from typing import Any, Final

from RNS.Interfaces.Interface import Interface

from ciris_mesh.radio.airtime import LoraSettings, nearest_bandwidth
from ciris_mesh.radio.host import (
    Gone,
    HostEvent,
    HostSide,
    Load,
    Packet,
    RadioSetup,
    Ready,
    Refused,
    Signal,
)
from ciris_mesh.radio.kiss import PACKET_BYTES_MAX

logger = logging.getLogger(__name__)

#: An ether that was stopped may be started again any time.
_RETRY_S: Final = 1.0
#: The ether reads at once or is gone.
_SEND_TIMEOUT_S: Final = 2.0
_READ_BYTES: Final = 4_096


class VirtualRNodeInterface(Interface):  # type: ignore[misc]  # Reticulum has no types
    """One interface. Its thread, "ciris-virtual-rnode", lives until `detach`.

    Args:
        owner: Reticulum's transport; gets packets on this interface's thread.
        configuration: `socket`, `frequency`, `bandwidth`, `spreadingfactor`, `codingrate`,
            `txpower`, and if wanted `airtime_limit_short` and `airtime_limit_long` in percent.

    Raises:
        ValueError: a setting is missing or impossible; Reticulum logs it and goes on without.
    """

    DEFAULT_IFAC_SIZE = 8

    def __init__(self, owner: Any, configuration: Any) -> None:
        super().__init__()
        config = Interface.get_config_obj(configuration)
        setup = _setup(config)
        self.owner = owner
        self.name = config["name"]
        self.HW_MTU = PACKET_BYTES_MAX
        self.bitrate = setup.settings.bitrate_bps
        self.frequency = setup.settings.frequency_hz
        self.bandwidth = setup.settings.bandwidth_hz
        self.sf, self.cr = setup.settings.sf, setup.settings.cr
        self.shared_medium = True
        self.reports_phy_stats = True
        self.r_stat_rssi: int | None = None
        self.r_stat_snr: float | None = None
        self.r_airtime_short = self.r_airtime_long = 0.0
        self.r_channel_load_short = self.r_channel_load_long = 0.0
        self._path = config["socket"]
        self._host = HostSide(setup)
        self._sending = threading.Lock()  # guards the socket against two senders at once
        self._socket: socket.socket | None = None
        self._detached = threading.Event()
        threading.Thread(target=self._run, name="ciris-virtual-rnode", daemon=True).start()

    def __str__(self) -> str:
        return f"VirtualRNodeInterface[{self.name}]"

    def process_outgoing(self, data: bytes) -> None:
        """Send one packet. Dropped while the interface is off-line, as by the real driver."""
        if not self.online:
            return
        with self._sending, suppress(OSError):  # the reading thread notices the end
            if self._socket is not None:
                self._socket.sendall(self._host.packet(data))
                self.txb += len(data)

    def should_ingress_limit(self) -> bool:
        """Never, as with the real driver."""
        return False

    def detach(self) -> None:
        """End: Reticulum shuts down or takes the interface away."""
        self._detached.set()
        self.online = False
        with self._sending:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._detached.is_set():
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                    link.connect(self._path)
                    self._converse(link)
            except OSError as error:
                logger.debug("virtual_rnode.lost name=%s error=%s", self.name, error)
            except Exception:
                logger.exception("virtual_rnode.failed name=%s", self.name)
            self.online = False
            self._detached.wait(_RETRY_S)

    def _converse(self, link: socket.socket) -> None:
        """Set the device up and read until it goes away."""
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(_SEND_TIMEOUT_S))
        with self._sending:
            self._socket = link
            link.sendall(self._host.hello())
        try:
            while got := link.recv(_READ_BYTES):
                for event in self._host.feed(got):
                    self._handle(event, link)
        finally:
            with self._sending:
                self._socket = None

    def _handle(self, event: HostEvent, link: socket.socket) -> None:
        match event:
            case Packet(data):
                self.rxb += len(data)
                self.owner.inbound(data, self)
            case Signal(rssi_dbm, snr_db):
                self.r_stat_rssi = self.r_stat_rssi if rssi_dbm is None else rssi_dbm
                self.r_stat_snr = self.r_stat_snr if snr_db is None else snr_db
            case Load(airtime_short, airtime_long, load_short, load_long):
                self.r_airtime_short, self.r_airtime_long = 100 * airtime_short, 100 * airtime_long
                self.r_channel_load_short = 100 * load_short
                self.r_channel_load_long = 100 * load_long
            case Ready():
                self.online = not self._detached.is_set()
            case Refused(what):
                self.online = False
                logger.error("virtual_rnode.refused name=%s what=%s", self.name, what)
            case Gone(why):
                self.online = False
                logger.warning("virtual_rnode.gone name=%s why=%s", self.name, why)
                with self._sending:
                    link.sendall(self._host.hello())


def _setup(config: Any) -> RadioSetup:
    """Read the settings.

    Raises:
        ValueError: one is missing or impossible.
    """
    try:
        settings = LoraSettings(
            int(config["frequency"]),
            nearest_bandwidth(int(config["bandwidth"])),
            int(config["spreadingfactor"]),
            int(config["codingrate"]),
        )
        return RadioSetup(
            settings,
            int(config["txpower"]),
            float(config.get("airtime_limit_short", 0)) / 100,
            float(config.get("airtime_limit_long", 0)) / 100,
        )
    except KeyError as error:
        raise ValueError(f"VirtualRNodeInterface needs {error}") from None


def _timeval(seconds: float) -> bytes:
    """A `struct timeval` as the kernel takes it."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
