"""`python -m dtrak_stream`: the console command, where it is not on the path."""

from dtrak_stream.cli.main import main

if __name__ == "__main__":
    main()
