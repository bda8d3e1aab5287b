"""A whole federation in virtual time: sizes and orders are the protocol's, the links a model."""
