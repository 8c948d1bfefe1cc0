"""`python -m api`, and the console script `lookalike`."""


def main() -> None:
    """Run the command line."""
    from api.cli import main as run

    run()


if __name__ == "__main__":
    main()
