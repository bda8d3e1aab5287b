"""Reticulum interface on an emulated RNode without a serial port: see `ciris-mesh ether`.

Save as the file VirtualRNodeInterface.py in the directory `interfaces` beside Reticulum's
configuration. Reticulum runs it with only `Interface` and `RNS` defined, so it stays a shim: all
that can be wrong lives in the module it imports.
"""

from ciris_mesh.radio.interface import VirtualRNodeInterface

interface_class = VirtualRNodeInterface
