"""Anti-entropy rounds as pure state machines, with the limits that bound them."""
