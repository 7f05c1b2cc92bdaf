"""The foundations as experiments: a section a module, each with `section(bench, effort) -> Section`."""
