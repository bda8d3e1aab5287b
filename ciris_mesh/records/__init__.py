"""Federation records: kinds, canonical bytes, ids, signatures. Pure: no I/O, clock or threads."""
