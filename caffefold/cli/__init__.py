"""The command line: one file per subcommand. Only this package prints."""
