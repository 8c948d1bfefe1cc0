"""`python -m api`, and the console script `lookalike`."""

import os


def main() -> None:
    """Run the command line."""
    # Threads of torch that wait must sleep: spinning, they take the cores from the decoding children (indexing took up
    # to twice as long on 2 busy cores). Read when torch is first imported, so it is set before anything else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from api.cli import main as run

    run()


if __name__ == "__main__":
    main()
