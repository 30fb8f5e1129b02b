"""A fourth system, for the tests: it shows that drivers need no change for one."""
