"""LoRa without hardware: emulated RNodes on one shared channel."""
