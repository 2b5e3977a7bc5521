"""``python -m caffefold``."""

from caffefold.search_path import leave_out_working_directory

leave_out_working_directory()  # before anything else is imported

from caffefold.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
