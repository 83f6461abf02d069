"""Options, configuration files, exit codes and the console command."""
