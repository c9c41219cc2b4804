"""A real Ceph, from Debian's packages, on loopback."""
